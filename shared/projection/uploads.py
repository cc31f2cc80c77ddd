"""Event → change of one `uploads` row. Pure, and the same for the live write and for a rebuild.

A change names every column. None leaves a column as it is, except for the error, which each event states anew, and
`progress`, which never goes back.
"""

import datetime as dt
from collections.abc import Iterable
from uuid import UUID

import msgspec

from contracts.events import (
    Event,
    GenerationStarted,
    ImageGenerated,
    ImageValidated,
    PreviewWatermarked,
    ProcessingCompleted,
    ProcessingFailed,
    ProcessingRequested,
    ReplayRequested,
    ResultStored,
    Stage,
    StageAttemptFailed,
    Status,
    UploadErased,
    UploadRegistered,
)
from shared.upload.saga import next_stage
from shared.upload.upload import progress_of

ERASED = ""
"""What stands in a column that named a person, once they asked to be forgotten."""


class RowChange(msgspec.Struct, kw_only=True):
    """One upload's row, or the part of it that an event changes. The columns are those of the table."""

    id: UUID
    email: str | None = None
    session_token_digest: str | None = None
    original_key: str | None = None
    status: Status | None = None
    stage: Stage | None = None
    progress: int = 0
    workflow_run_id: UUID | None = None
    attempt: int | None = None
    result_id: UUID | None = None
    result_key: str | None = None
    preview_key: str | None = None
    preview_width: int | None = None
    preview_height: int | None = None
    preview_content_type: str | None = None
    error_code: str | None = None
    error_message: str | None = None
    error_retryable: bool | None = None
    version: int
    created_at: dt.datetime | None = None
    updated_at: dt.datetime


COLUMNS: tuple[str, ...] = RowChange.__struct_fields__
STATED = frozenset({"error_code", "error_message", "error_retryable", "version", "updated_at"})
"""Columns that every change sets, null included."""


def change_of(event: Event) -> RowChange:  # noqa: C901 — one case an event, nothing else
    """Return what one event does to its upload's row."""
    change = RowChange(id=event.upload_id, version=event.version, updated_at=event.occurred_at)
    match event:
        case UploadRegistered():
            change.email, change.session_token_digest = event.email, event.session_token_digest
            change.original_key, change.created_at = event.original_key, event.occurred_at
            change.status, change.attempt = Status.PENDING, 0
        case ProcessingRequested():
            change.workflow_run_id = event.workflow_run_id
            _entered(change, Stage.VALIDATING, event.attempt)
        case ImageValidated():
            _entered(change, next_stage(Stage.VALIDATING), event.attempt)
        case ImageGenerated():
            _entered(change, next_stage(Stage.GENERATING), event.attempt)
        case ResultStored():
            change.result_id, change.result_key = event.result_id, event.result_key
            _entered(change, next_stage(Stage.STORING), event.attempt)
        case PreviewWatermarked():
            change.preview_key, change.preview_content_type = event.preview_key, event.content_type
            change.preview_width, change.preview_height = event.width, event.height
        case ProcessingCompleted():
            change.status, change.stage, change.progress = Status.COMPLETED, Stage.COMPLETE, 100
        case ProcessingFailed():
            change.status, change.stage = Status.FAILED, event.stage
            change.error_code, change.error_message = event.code, event.message
            change.error_retryable = event.retryable
        case ReplayRequested():
            _entered(change, event.from_stage, event.attempt)
        case UploadErased():
            change.email = change.session_token_digest = ERASED
        case GenerationStarted() | StageAttemptFailed():
            pass
    return change


def merge(row: RowChange, change: RowChange) -> RowChange:
    """Apply a later change to a row (or to an earlier change of it), in place. The recorder does it in SQL."""
    for column in COLUMNS:
        value = getattr(change, column)
        if column == "progress":
            row.progress = max(row.progress, change.progress)
        elif value is not None or column in STATED:
            setattr(row, column, value)
    return row


def changes_of(events: Iterable[Event]) -> RowChange:
    """Return what consecutive events of one upload do to its row, as one change. Raises ValueError without events."""
    row: RowChange | None = None
    for event in events:
        row = change_of(event) if row is None else merge(row, change_of(event))
    if row is None:
        raise ValueError("no events, no change")
    return row


def _entered(change: RowChange, stage: Stage, attempt: int) -> None:
    change.status, change.stage, change.attempt = Status.PROCESSING, stage, attempt
    change.progress = progress_of(stage)
