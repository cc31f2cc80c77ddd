"""GET /api/status/{jobId}: one primary-key read of the read model."""

import datetime as dt
from typing import Annotated

from litestar import Response, get
from litestar.params import Parameter

from contracts.events import Stage, Status
from contracts.http import JobStatus, RunError
from services.gateway.access import as_upload_id, own_upload
from services.gateway.parts import Objects, Reads
from services.gateway.process import SessionToken
from services.gateway.sessions import token_present
from shared.projection.queries import UploadRow

URL_LIFETIME = dt.timedelta(minutes=15)
"""How long a signed URL works."""


@get("/api/status/{job_id:str}", guards=[token_present])
async def get_status(
    job_id: str,
    session_token: SessionToken,
    reads: Reads,
    objects: Objects,
    if_none_match: Annotated[str | None, Parameter(header="If-None-Match")] = None,
) -> Response[JobStatus | None]:
    """Say where a job stands. The ETag is the upload's version: it changes with every event."""
    row = await own_upload(reads, as_upload_id(job_id), session_token)
    headers = {"ETag": f'"{row.version}"', "Cache-Control": "private, no-cache"}
    if if_none_match is not None and f'"{row.version}"' in if_none_match:
        return Response(None, status_code=304, headers=headers)
    return Response(await status_of(row, objects), headers=headers)


async def status_of(row: UploadRow, objects: Objects) -> JobStatus:
    """Give the status that a row shows to its owner."""
    done = row.status == Status.COMPLETED and row.preview_key
    error = None
    if row.error_code is not None:
        error = RunError(code=row.error_code, message=row.error_message or "", retryable=bool(row.error_retryable))
    return JobStatus(
        job_id=row.id,
        status=Status(row.status),
        stage=Stage(row.stage) if row.stage else None,
        progress=row.progress,
        workflow_run_id=row.workflow_run_id,
        attempt=row.attempt,
        result_id=row.result_id if done else None,
        preview_url=await objects.signed_url(row.preview_key, expires=URL_LIFETIME)
        if done and row.preview_key
        else None,
        error=error,
        updated_at=row.updated_at,
    )
