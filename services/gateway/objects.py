"""GET /objects/{key}: what a bucket does for its signed URLs, done by us where the object store is a directory."""

from typing import Any

from litestar import Request, get
from litestar.response import File

from services.gateway.parts import Local
from services.gateway.problems import ObjectNotFoundError
from shared.storage.port import ObjectMissingError
from shared.storage.signing import BadSignatureError


@get("/objects/{key:path}", include_in_schema=False)
async def get_object(key: str, request: Request[Any, Any, Any], local: Local) -> File:
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
        headers={"Cache-Control": "private, max-age=900", "X-Content-Type-Options": "nosniff"},
    )
