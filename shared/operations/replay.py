"""Replaying runs that are named, one or a handful, at once."""

from collections.abc import Sequence
from uuid import UUID

from contracts.events import ReplayRequested, Stage
from contracts.ops import FailedGroup
from shared.clock import utc_now
from shared.eventstore.group_commit import ConflictError
from shared.operations.context import OperatorContext
from shared.read_model.queries import UploadRow
from shared.upload.decisions import request_replay
from shared.upload.errors import NotReplayableError
from shared.upload.upload import Upload

WAIT = 5.0
"""Seconds that a replay waits for the database."""


class RunNotFoundError(Exception):
    """No run or upload has this id."""

    def __init__(self, run_or_upload: UUID) -> None:
        super().__init__(f"there is no run or upload {run_or_upload}")


async def find_run(context: OperatorContext, run_or_upload: UUID) -> UploadRow:
    """Find a run by its id or its upload's. Raises RunNotFoundError."""
    row = await context.uploads.by_run(run_or_upload) or await context.uploads.get(run_or_upload)
    if row is None:
        raise RunNotFoundError(run_or_upload)
    return row


async def as_failed(
    context: OperatorContext, run_or_upload: UUID, *, from_stage: Stage | None
) -> tuple[UUID, FailedGroup]:
    """Return a run's upload and how it failed. Raises RunNotFoundError, NotReplayableError. Changes nothing."""
    row = await find_run(context, run_or_upload)
    upload = await context.store.load(row.id, wait=WAIT)
    _request(upload, from_stage, by="", reason="")
    if (failure := upload.failure) is None:
        raise NotReplayableError(upload.id, upload.status, "it did not fail")
    return row.id, FailedGroup(stage=failure.stage, code=failure.code, retryable=failure.retryable, runs=1)


def grouped(failures: Sequence[FailedGroup]) -> list[FailedGroup]:
    """Add up runs that failed alike."""
    counts: dict[tuple[Stage, str, bool], int] = {}
    for failure in failures:
        key = (failure.stage, failure.code, failure.retryable)
        counts[key] = counts.get(key, 0) + failure.runs
    return [FailedGroup(stage=s, code=c, retryable=r, runs=runs) for (s, c, r), runs in counts.items()]


async def replay_one(
    context: OperatorContext, upload_id: UUID, *, from_stage: Stage | None, by: str, reason: str
) -> ReplayRequested:
    """Resume an upload's failed run as its next attempt.

    Raises UploadNotFoundError, NotReplayableError, or StoreUnavailableError; nothing is recorded then.
    """
    while True:
        upload = await context.store.load(upload_id, wait=WAIT)
        event = _request(upload, from_stage, by=by, reason=reason)
        details = {
            "uploadId": str(upload_id),
            "workflowRunId": str(event.workflow_run_id),
            "attempt": event.attempt,
            "fromStage": str(event.from_stage),
        }
        audit = await context.audit_log.draft(who=by, what="replay", why=reason, details=details)
        try:
            await context.store.append(event, audit=audit, wait=WAIT)
        except ConflictError:
            continue
        return event


def _request(upload: Upload, from_stage: Stage | None, *, by: str, reason: str) -> ReplayRequested:
    return request_replay(upload, from_stage=from_stage, requested_by=by, reason=reason, now=utc_now())
