"""GET /api/status/{jobId}/events: a job followed for as long as its run goes on."""

from typing import Annotated, Any

from litestar import Request, Response, get
from litestar.openapi import ResponseSpec
from litestar.params import HeaderParameter
from litestar.response import Stream

from services.gateway.dependencies import Reads
from services.gateway.http.ownership import as_upload_id, own_upload
from services.gateway.http.sessions import SessionToken, token_present
from services.gateway.jobs.dependencies import Streams, WaitersPart
from services.gateway.jobs.status_streams import ENDED
from services.gateway.openapi.document import OWNER, described
from services.gateway.openapi.examples import STREAM
from services.gateway.openapi.parameters import JobId
from services.gateway.openapi.problem_responses import problems

LastEventId = Annotated[
    int, HeaderParameter(name="Last-Event-ID", ge=0, description="The `id` of the last event that came through.")
]


@get(
    "/api/status/{jobId:str}/events",
    operation_id="streamStatus",
    summary="Follow a job",
    description=(
        "Server-sent events: one for each change of the job, its `id` counting them, its `data` the status as JSON."
        " Ends when the run does, and after a minute where none has begun. A client that lost the connection, or wants"
        " more, comes back with `Last-Event-ID`."
    ),
    tags=["Jobs"],
    media_type="text/event-stream",
    response_description="The job's changes, from the first or after `Last-Event-ID`.",
    before_request=token_present,
    security=OWNER,
    operation_class=described(STREAM),
    responses={
        204: ResponseSpec(
            None, description="The run ended with the event that `Last-Event-ID` names: do not come back."
        ),
        **problems("INVALID_REQUEST", "INVALID_SESSION_TOKEN", "UPLOAD_NOT_FOUND", "RATE_LIMITED", "UNAVAILABLE"),
    },
)
async def stream_status(
    job_id: JobId,
    session_token: SessionToken,
    request: Request[Any, Any, Any],
    reads: Reads,
    streams: Streams,
    waiters: WaitersPart,
    last_event_id: LastEventId = 0,
) -> Response[Any]:
    """Stream a job's changes to its owner."""
    upload_id = as_upload_id(job_id)
    row = await own_upload(reads, upload_id, session_token)
    if row.status in ENDED and last_event_id >= row.version:
        return Response(None, status_code=204)
    if request.scope["state"]["head"]:
        with waiters.hold(upload_id, request):
            return Response(None, media_type="text/event-stream")
    lines = await waiters.held(streams.lines(upload_id, last_event_id), upload_id, request)
    return Stream(lines, media_type="text/event-stream", headers={"X-Accel-Buffering": "no"})
