"""GET /api/results/{resultId}: where the finished preview can be seen, for a while."""

from uuid import UUID

from litestar import get

from contracts.http import Result
from services.gateway.parts import Objects, Reads
from services.gateway.problems import ResultNotFoundError
from services.gateway.process import SessionToken
from services.gateway.sessions import check_token, token_present
from services.gateway.status import URL_LIFETIME


@get("/api/results/{result_id:str}", guards=[token_present])
async def get_result(
    result_id: str, session_token: SessionToken, reads: Reads, objects: Objects
) -> Result:
    """Give a signed URL of a result's preview to the owner of its upload."""
    try:
        row = await reads.by_result(UUID(result_id))
    except ValueError:
        row = None
    if row is None or row.preview_key is None:
        raise ResultNotFoundError
    check_token(session_token, row.session_token_digest)
    return Result(
        result_id=UUID(result_id),
        job_id=row.id,
        preview_url=await objects.signed_url(row.preview_key, expires=URL_LIFETIME),
        width=row.preview_width or 0,
        height=row.preview_height or 0,
        content_type=row.preview_content_type or "",
    )
