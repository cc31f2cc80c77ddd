"""GET and PUT /objects/{key}: what a bucket does for its signed URLs, done by us where the store is a directory."""

import asyncio
import tempfile
from pathlib import Path
from typing import Any

from litestar import Request, Response, get, put
from litestar.params import FromPath
from litestar.response import File

from contracts.http import MAX_IMAGE_BYTES
from services.gateway.dependencies import Local
from services.gateway.http.problems import (
    InvalidRequestError,
    LengthRequiredError,
    ObjectNotFoundError,
    SignatureMismatchError,
)
from services.gateway.http.spools import Spool
from services.gateway.uploads.dependencies import SpoolsPart
from shared.storage.port import ObjectMissingError
from shared.storage.signing import BadSignatureError


@get("/objects/{key:path}", include_in_schema=False)
async def get_object(key: FromPath[str], request: Request[Any, Any, Any], local: Local) -> File:
    """Stream an object to whoever holds a URL that was signed for it. Raises ObjectNotFoundError for anything else."""
    name = key.lstrip("/")
    try:
        download_as = local.verify_get(name, dict(request.query_params))
        path = local.open_path(name)
        info = await local.head(name)
    except (BadSignatureError, ObjectMissingError, ValueError):
        raise ObjectNotFoundError from None
    return File(
        path,
        filename=download_as or "",
        content_disposition_type="attachment" if download_as else "inline",
        media_type=info.content_type if info else None,
        headers={"Cache-Control": "private, max-age=900"},
    )


@put("/objects/{key:path}", include_in_schema=False, status_code=200, request_max_body_size=MAX_IMAGE_BYTES)
async def put_object(
    key: FromPath[str], request: Request[Any, Any, Any], local: Local, spools: SpoolsPart
) -> Response[None]:
    """Take exactly the bytes that the URL was signed for, all of them or none.

    Raises LengthRequiredError, SignatureMismatchError, InvalidRequestError, RateLimitedError, SpoolFullError.
    """
    name = key.lstrip("/")
    content_type, length = request.headers.get("Content-Type", ""), request.content_length
    if length is None:
        raise LengthRequiredError
    try:
        local.verify_put(name, dict(request.query_params), content_type=content_type, size_bytes=length)
    except (BadSignatureError, ValueError):
        raise SignatureMismatchError from None
    with spools.open(request) as spool, tempfile.TemporaryDirectory(prefix="darkroom-") as folder:
        path = Path(folder) / "object"
        if await _write(request, path, spool) != length:
            raise InvalidRequestError("The body is not as long as its Content-Length.")
        await local.put_file(name, path, content_type)
    return Response(None)


async def _write(request: Request[Any, Any, Any], path: Path, spool: Spool) -> int:
    """Write the body to a file as it comes in; return its length."""
    written = 0
    with path.open("wb") as file:
        async for chunk in request.stream():
            spool.take(len(chunk))
            written += await asyncio.to_thread(file.write, chunk)
    return written
