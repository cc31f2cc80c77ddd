"""GET /api/status/{jobId}: one primary-key read of the read model; with `wait`, one more once something changed."""

from typing import Annotated, Any
from uuid import UUID

from litestar import Request, Response, get
from litestar.openapi import ResponseSpec
from litestar.params import HeaderParameter, QueryParameter

from contracts.http import JobStatus
from services.gateway.http.entity_tags import known_tags, knows, tag_of
from services.gateway.http.ownership import as_upload_id, own_upload
from services.gateway.http.sessions import SessionToken, token_present
from services.gateway.jobs.dependencies import Jobs
from services.gateway.jobs.job_status import status_of
from services.gateway.openapi.document import OWNER, described
from services.gateway.openapi.examples import GENERATING
from services.gateway.openapi.parameters import JobId
from services.gateway.openapi.problem_responses import problems
from shared.read_model.changes import ChangeListener
from shared.read_model.queries import UploadQueries, UploadRow

LONGEST_WAIT = 25.0
"""Seconds of the longest poll: under the half minute after which proxies give up."""

Wait = Annotated[
    float,
    QueryParameter(ge=0, le=LONGEST_WAIT, description="Seconds to wait for a change, with `If-None-Match`."),
]
IfNoneMatch = Annotated[
    str | None, HeaderParameter(name="If-None-Match", description="The `ETag` of the status that is known already.")
]


@get(
    "/api/status/{jobId:str}",
    operation_id="getStatus",
    summary="See where a job stands",
    description=(
        "The `ETag` changes with every change of the job. With `If-None-Match` and `wait` the answer comes as soon as"
        " the job has changed, or as 304 after `wait` seconds. `previewUrl` works for a quarter of an hour."
    ),
    tags=["Jobs"],
    before_request=token_present,
    operation_class=described(GENERATING, tagged=True),
    security=OWNER,
    responses={
        304: ResponseSpec(None, description="The job is as `If-None-Match` says."),
        **problems("INVALID_REQUEST", "INVALID_SESSION_TOKEN", "UPLOAD_NOT_FOUND", "RATE_LIMITED", "UNAVAILABLE"),
    },
)
async def get_status(
    job_id: JobId,
    session_token: SessionToken,
    request: Request[Any, Any, Any],
    jobs: Jobs,
    if_none_match: IfNoneMatch = None,
    wait: Wait = 0,
) -> Response[JobStatus]:
    """Return where a job stands, at once or as soon as that is news."""
    upload_id = as_upload_id(job_id)
    row = await own_upload(jobs.reads, upload_id, session_token)
    if wait and str(row.version) in known_tags(if_none_match):
        with jobs.waiters.hold(upload_id, request):
            row = await _news(upload_id, row, wait, jobs.reads, jobs.changes)
    headers = {"ETag": tag_of(row.version)}
    if knows(if_none_match, row.version):
        return Response(None, status_code=304, headers=headers)  # type: ignore[arg-type]  # a 304 has no body
    return Response(await status_of(row, jobs.objects), headers=headers)


async def _news(
    upload_id: UUID, row: UploadRow, wait: float, reads: UploadQueries, changes: ChangeListener
) -> UploadRow:
    """Wait until the row has changed, or the time is over; return the row as it is then."""
    with changes.subscribe(upload_id) as subscription:
        # Again, now that nothing can be missed any more.
        latest = await reads.get(upload_id) or row
        if latest.version == row.version and await subscription.wait_beyond(row.version, wait):
            latest = await reads.get(upload_id) or row
        return latest
