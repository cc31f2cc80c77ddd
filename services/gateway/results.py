"""GET /api/results/{resultId}: where the finished preview can be seen, for a while."""

from typing import Annotated
from uuid import UUID

from litestar import get
from litestar.openapi.spec import Example
from litestar.params import PathParameter

from contracts.events import Status
from contracts.http import Result
from services.gateway.job_status import URL_LIFETIME
from services.gateway.openapi import OWNER, RESULT_ID, problems
from services.gateway.parts import Objects, Reads
from services.gateway.patience import patient
from services.gateway.problems import ResultNotFoundError
from services.gateway.sessions import SessionToken, check_token, token_present

ResultId = Annotated[str, PathParameter(description="From the job's status.", examples=[Example(value=RESULT_ID)])]


@get(
    "/api/results/{result_id:str}",
    operation_id="getResult",
    summary="See a finished picture",
    description="`previewUrl` works for a quarter of an hour; ask again for a new one.",
    tags=["Results"],
    guards=[token_present],
    security=OWNER,
    responses=problems("INVALID_SESSION_TOKEN", "RESULT_NOT_FOUND", "UNAVAILABLE"),
)
async def get_result(result_id: ResultId, session_token: SessionToken, reads: Reads, objects: Objects) -> Result:
    """Give a signed URL of a result's preview to the owner of its upload."""
    try:
        wanted = UUID(result_id)
    except ValueError:
        raise ResultNotFoundError from None
    row = await patient(lambda: reads.by_result(wanted))
    if row is None or row.status != Status.COMPLETED or row.preview_key is None:
        raise ResultNotFoundError
    check_token(session_token, row.session_token_digest)
    return Result(
        result_id=wanted,
        job_id=row.id,
        preview_url=await objects.signed_url(row.preview_key, expires=URL_LIFETIME),
        width=row.preview_width or 0,
        height=row.preview_height or 0,
        content_type=row.preview_content_type or "",
    )
