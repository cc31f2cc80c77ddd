"""POST /api/uploads: a photo comes in, is looked at, put away and registered. It costs nothing until it is processed."""

import asyncio
import shutil
import tempfile
from pathlib import Path
from typing import IO, Annotated

import msgspec
import uuid_utils.compat
from litestar import post
from litestar.datastructures import UploadFile
from litestar.enums import RequestEncodingType
from litestar.params import Body

from contracts.events import UploadRegistered
from contracts.http import UploadCreated
from services.gateway.parts import Cpu, Objects, Store
from services.gateway.problems import InvalidRequestError
from services.gateway.sessions import digest, new_token
from shared.eventstore.store import utc_now
from shared.imaging import ImageHeader, read_header
from shared.storage.keys import original_key

MAX_UPLOAD_BYTES = 50 * 1024 * 1024
"""Largest request body; a photo of 50 megapixels fits."""

STORE_WAIT = 5.0
"""Seconds that an upload waits for the database before it is refused."""

Email = Annotated[str, msgspec.Meta(pattern=r"^[^@\s\x00-\x1f]{1,64}@[^@\s\x00-\x1f]{1,250}$", max_length=254)]


class UploadForm(msgspec.Struct):
    """The multipart form: the photo, and where to reach the person."""

    image: UploadFile | None = None
    email: str | None = None


@post("/api/uploads", status_code=201, request_max_body_size=MAX_UPLOAD_BYTES)
async def create_upload(
    data: Annotated[UploadForm, Body(media_type=RequestEncodingType.MULTI_PART)],
    store: Store,
    objects: Objects,
    cpu: Cpu,
) -> UploadCreated:
    """Register an upload and give its session token, this once. What the header of the file shows is refused here."""
    if data.image is None:
        raise InvalidRequestError("The form has no file named `image`.")
    email = _email(data.email)
    upload_id, token = uuid_utils.compat.uuid7(), new_token()
    key = original_key(upload_id)
    with tempfile.NamedTemporaryFile(prefix="darkroom-") as spool:
        path = Path(spool.name)
        await asyncio.to_thread(_copy, data.image.file, path)
        header: ImageHeader = await cpu.run(read_header, path)
        await objects.put_file(key, path, header.content_type)
        size = path.stat().st_size
    event = UploadRegistered(
        upload_id=upload_id,
        version=1,
        occurred_at=utc_now(),
        email=email,
        session_token_digest=digest(token),
        original_key=key,
        content_type=header.content_type,
        size_bytes=size,
        width=header.width,
        height=header.height,
    )
    try:
        await store.append(event, wait=STORE_WAIT)
    except Exception:
        await objects.delete(key)
        raise
    return UploadCreated(upload_id=upload_id, session_token=token)


def _email(given: str | None) -> str:
    try:
        return msgspec.convert((given or "").strip(), Email)
    except msgspec.ValidationError as error:
        raise InvalidRequestError("The form needs `email`, an e-mail address.") from error


def _copy(source: IO[bytes], target: Path) -> None:
    """Give the form's file a name, which libvips and the object store need; it may be larger than memory allows."""
    with target.open("wb") as sink:
        shutil.copyfileobj(source, sink, 1024 * 1024)
