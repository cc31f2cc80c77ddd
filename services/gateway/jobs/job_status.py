"""What an upload's owner sees of a row, whether it was read or folded from events."""

import datetime as dt

from contracts.events import Stage, Status
from contracts.http import JobStatus, RunError
from services.gateway.jobs.status_cache import KEPT
from shared.projection.uploads import RowChange
from shared.read_model.queries import UploadRow
from shared.storage.port import ObjectStore

URL_LIFETIME = dt.timedelta(minutes=15, seconds=KEPT)
"""How long a signed URL works: for a quarter of an hour still when an answer is given again for the last time."""


async def status_of(row: UploadRow | RowChange, objects: ObjectStore) -> JobStatus:
    """Return the status that a row shows to its owner."""
    preview = row.preview_key if row.status == Status.COMPLETED else None
    error = None
    if row.error_code is not None:
        error = RunError(code=row.error_code, message=row.error_message or "", retryable=bool(row.error_retryable))
    return JobStatus(
        job_id=row.id,
        status=Status(row.status or Status.PENDING),
        stage=Stage(row.stage) if row.stage else None,
        progress=row.progress,
        workflow_run_id=row.workflow_run_id,
        attempt=row.attempt or 0,
        result_id=row.result_id if preview else None,
        preview_url=await objects.signed_url(preview, expires=URL_LIFETIME) if preview else None,
        error=error,
        updated_at=row.updated_at,
    )
