"""GET /api/results/{resultId}: where the finished preview can be seen, for a while."""

from typing import Annotated
from uuid import UUID

from litestar import get
from litestar.openapi.spec import Example
from litestar.params import PathParameter

from contracts.events import Status
from contracts.http import Result
from services.gateway.dependencies import Objects, Reads
from services.gateway.http.deadlines import with_deadline
from services.gateway.http.problems import ResultNotFoundError
from services.gateway.http.sessions import SessionToken, check_token, token_present
from services.gateway.jobs.job_status import URL_LIFETIME
from services.gateway.openapi.document import OWNER, described
from services.gateway.openapi.examples import RESULT, RESULT_ID
from services.gateway.openapi.problem_responses import problems

_ID = [Example(value=str(RESULT_ID))]
ResultId = Annotated[str, PathParameter(name="resultId", description="From the job's status.", examples=_ID)]


@get(
    "/api/results/{resultId:str}",
    operation_id="getResult",
    summary="See a finished picture",
    description="`previewUrl` works for a quarter of an hour; ask again for a new one.",
    tags=["Results"],
    before_request=token_present,
    operation_class=described(RESULT),
    security=OWNER,
    responses=problems("INVALID_REQUEST", "INVALID_SESSION_TOKEN", "RESULT_NOT_FOUND", "UNAVAILABLE"),
)
async def get_result(result_id: ResultId, session_token: SessionToken, reads: Reads, objects: Objects) -> Result:
    """Return a signed URL of a result's preview to the owner of its upload."""
    try:
        wanted = UUID(result_id)
    except ValueError:
        raise ResultNotFoundError from None
    row = await with_deadline(lambda: reads.by_result(wanted))
    if row is None or row.erased or row.status != Status.COMPLETED or row.preview_key is None:
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
