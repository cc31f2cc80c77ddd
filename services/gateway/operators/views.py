"""Rows, jobs and events as the operators' interface shows them; and its cursors."""

import base64
import binascii
import datetime as dt
from uuid import UUID

from contracts.events import Event, Stage, Status
from contracts.http import RunError
from contracts.ops import Replay, ReplayedRun, Run, TimelineEvent
from services.gateway.operators.access import BadCursorError
from shared.operations.bulk_replay import ReplayProgress
from shared.operations.replay_jobs import ReplayItem
from shared.operations.runs import Place
from shared.operations.timeline import content_of
from shared.read_model.queries import UploadRow


def run_view(row: UploadRow) -> Run:
    """Show a row of the read model."""
    error = None
    if row.error_code is not None:
        error = RunError(code=row.error_code, message=row.error_message or "", retryable=bool(row.error_retryable))
    return Run(
        upload_id=row.id,
        workflow_run_id=row.workflow_run_id,
        status=Status(row.status),
        stage=Stage(row.stage) if row.stage else None,
        progress=row.progress,
        attempt=row.attempt,
        error=error,
        created_at=row.created_at,
        updated_at=row.updated_at,
    )


def event_view(event: Event) -> TimelineEvent:
    """Show an event, without what names the person."""
    return TimelineEvent(
        version=event.version,
        type=type(event).__name__,
        occurred_at=event.occurred_at,
        attempt=getattr(event, "attempt", None),
        content=content_of(event),
    )


def replay_view(now: ReplayProgress) -> Replay:
    """Show how a replay of many runs stands."""
    job = now.job
    return Replay(
        id=job.id,
        state=job.state,
        why=job.why,
        requested_by=job.requested_by,
        reason=job.reason,
        total=job.total,
        tally=now.tally,
        batch=job.batch,
        created_at=job.created_at,
        ended_at=job.ended_at,
    )


def item_view(item: ReplayItem) -> ReplayedRun:
    """Show what became of one run of a replay."""
    return ReplayedRun(
        position=item.position,
        batch=item.batch,
        upload_id=item.upload_id,
        workflow_run_id=item.workflow_run_id,
        attempt=item.attempt,
        state=item.state,
        code=item.code,
    )


def cursor_of(place: Place) -> str:
    """Write where a page ended as an opaque word."""
    return base64.urlsafe_b64encode(f"{place[0].isoformat()} {place[1]}".encode()).decode()


def place_in(cursor: str) -> Place:
    """Read where a page goes on. Raises BadCursorError."""
    try:
        at, upload_id = base64.urlsafe_b64decode(cursor).decode().split(" ")
        place = dt.datetime.fromisoformat(at), UUID(upload_id)
    except (binascii.Error, ValueError) as error:
        raise BadCursorError from error
    if place[0].tzinfo is None:
        raise BadCursorError
    return place
