"""Bodies as they come in: JSON said to be JSON, and the upload form, which goes to a file as it arrives."""

import asyncio
import re
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import msgspec
from litestar import Request
from litestar.exceptions import SerializationException
from litestar.exceptions.http_exceptions import RequestEntityTooLarge
from multipart import MultipartSegment, ParserError, ParserLimitReached, PushMultipartParser

from services.gateway.http.checks import AnyRequest
from services.gateway.http.problems import InvalidRequestError, UnsupportedMediaTypeError
from services.gateway.http.spools import Spool
from shared.imaging import ImageRefused, Refusal

T = TypeVar("T", bound=msgspec.Struct)

MAX_FIELD_BYTES = 1024
"""Largest text field of a form."""
WRITE_BYTES = 1024 * 1024
"""How much of a file is gathered before it is written."""

_PATTERN = re.compile(r"Expected `str` matching regex '.*'")
_FORM = "multipart/form-data"
NUL = b"\\u0000"
"""The character as JSON writes it, which no database keeps."""


class JsonRequest(Request[Any, Any, Any]):
    """A request whose JSON is refused as the client's fault, whatever keeps it from being read or kept."""

    async def json(self) -> Any:
        """Read the body. Raise SerializationException, which Litestar answers with 400."""
        if NUL in await self.body():
            raise SerializationException("a text has a NUL character")
        try:
            return await super().json()
        except (UnicodeDecodeError, RecursionError) as error:
            raise SerializationException("not UTF-8, or nested too deeply") from error


async def json_only(request: AnyRequest) -> None:
    """Refuse a body that does not say that it is JSON: a form of another site can send none that does."""
    content_type = request.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if content_type != "application/json":
        raise UnsupportedMediaTypeError("The body must be application/json.")


async def read_json(request: Request[Any, Any, Any], kind: type[T]) -> T:
    """Read a body of just this kind, converting nothing: Litestar would take "1" for a number.

    Raises InvalidRequestError.
    """
    try:
        return msgspec.json.decode(await request.body(), type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        # A pattern tells a person nothing.
        raise InvalidRequestError(f"{_PATTERN.sub('Expected another form', str(error))}.") from None
    except RecursionError:
        raise InvalidRequestError("The body is nested too deeply.") from None


class UploadForm:
    """The form of an upload, read into `target`. Holds a piece at a time, and nothing that was not asked."""

    def __init__(self, target: Path, spool: Spool) -> None:
        self.email: str | None = None
        self.image_bytes = 0
        self._target = target
        self._spool = spool
        self._seen: set[str] = set()
        self._field = ""
        self._piece = bytearray()

    async def read(self, request: Request[Any, Any, Any]) -> None:
        """Read the whole form. Raises InvalidRequestError, UnsupportedMediaTypeError, ImageRefused (too large).

        Raises RateLimitedError and SpoolFullError where it does not fit beside the other uploads.
        """
        content_type, options = request.content_type
        if content_type != _FORM:
            raise UnsupportedMediaTypeError(f"The body must be {_FORM}.")
        with self._target.open("wb") as file:
            try:
                with PushMultipartParser(options.get("boundary", ""), max_segment_count=8) as parser:
                    async for chunk in request.stream():
                        if chunk:
                            self._spool.take(len(chunk))
                            for part in parser.parse(chunk):
                                await self._take(part, file)
            except (ParserError, ParserLimitReached, UnicodeError):
                raise InvalidRequestError("The form cannot be read.") from None
            except RequestEntityTooLarge as error:
                raise ImageRefused(Refusal.IMAGE_TOO_LARGE, "The file is larger than 50 MB.") from error

    async def _take(self, part: MultipartSegment | bytearray | None, file: BinaryIO) -> None:
        if isinstance(part, MultipartSegment):
            self._begin(part.name)
        elif part is None:
            await self._end(file)
        else:
            self._piece += part
            if self._field == "email" and len(self._piece) > MAX_FIELD_BYTES:
                raise InvalidRequestError("`email` is too long.")
            if self._field == "image" and len(self._piece) >= WRITE_BYTES:
                await self._write(file)

    def _begin(self, name: str) -> None:
        if name not in {"image", "email"}:
            raise InvalidRequestError("The form has a field beside `image` and `email`.")
        if name in self._seen:
            raise InvalidRequestError(f"The form has more than one `{name}`.")
        self._seen.add(name)
        self._field = name

    async def _end(self, file: BinaryIO) -> None:
        if self._field == "image":
            await self._write(file)
            return
        try:
            self.email = self._piece.decode()
        except UnicodeDecodeError:
            raise InvalidRequestError("`email` is not UTF-8.") from None
        self._piece = bytearray()

    async def _write(self, file: BinaryIO) -> None:
        piece, self._piece = self._piece, bytearray()
        self.image_bytes += len(piece)
        await asyncio.to_thread(file.write, piece)
