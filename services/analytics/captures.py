"""From a run's events to what product analytics are told. Pure."""

import datetime as dt
import hashlib
from collections.abc import Sequence
from uuid import UUID, uuid5

import msgspec

from contracts.events import (
    Event,
    ProcessingCompleted,
    ProcessingFailed,
    ProcessingRequested,
    ReplayRequested,
    RunEvent,
    Stage,
    UploadRegistered,
)
from shared.upload.saga import SAGA

_OCCURRENCES = UUID("3f1c9f0e-6a0b-4c51-8d1e-0a5d0a2f7c11")  # never changes: PostHog tells repetitions by these ids


class Capture(msgspec.Struct, frozen=True, kw_only=True):
    """One occurrence. `uuid` is the same at every delivery; `distinct_id` names a session, not a person."""

    name: str
    uuid: UUID
    distinct_id: str
    timestamp: dt.datetime
    properties: dict[str, object]


def distinct_id(session_token_digest: str) -> str:
    """Return a session's name in analytics: a hash of the stored digest, which leads to neither token nor person."""
    return hashlib.sha256(session_token_digest.encode()).hexdigest()[:32]


def capture_of(event: Event, history: Sequence[Event]) -> Capture | None:
    """Return what is captured of an event, with its upload's whole stream at hand; None where nothing is."""
    match event:
        case ProcessingRequested():
            return _capture("processing_started", event, history, {})
        case ProcessingCompleted():
            return _capture("processing_completed", event, history, {"durations": durations(event, history)})
        case ProcessingFailed():
            failure = {"stage": event.stage, "code": event.code, "retryable": event.retryable}
            return _capture("processing_failed", event, history, failure)
        case _:
            return None


def durations(end: ProcessingCompleted, history: Sequence[Event]) -> dict[str, float]:
    """Return the seconds that each stage took, and `total`, in the attempt that `end` completed. Waits are included."""
    spent: dict[str, float] = {}
    begun: dt.datetime | None = None
    entered: dt.datetime | None = None
    stage: Stage | None = None
    for event in history:
        if event.version > end.version:
            break
        next_stage = _entered(event)
        if next_stage is None:
            continue
        if stage is not None and entered is not None and not isinstance(event, ReplayRequested):
            spent[stage] = round((event.occurred_at - entered).total_seconds(), 3)
        if isinstance(event, ProcessingRequested | ReplayRequested):
            begun, spent = event.occurred_at, {}
        stage, entered = next_stage, event.occurred_at
    if begun is not None:
        spent["total"] = round((end.occurred_at - begun).total_seconds(), 3)
    return spent


def _entered(event: Event) -> Stage | None:
    """Name the stage that an event makes due."""
    if isinstance(event, ReplayRequested):
        return event.from_stage
    if isinstance(event, ProcessingCompleted):
        return Stage.COMPLETE
    return next((row.stage for row in SAGA.values() if isinstance(event, row.consumes)), None)


def _capture(name: str, event: RunEvent, history: Sequence[Event], more: dict[str, object]) -> Capture | None:
    registered = history[0] if history else None
    if not isinstance(registered, UploadRegistered):
        return None
    return Capture(
        name=name,
        uuid=uuid5(_OCCURRENCES, event.message_id),
        distinct_id=distinct_id(registered.session_token_digest),
        timestamp=event.occurred_at,
        properties={
            "upload_id": str(event.upload_id),
            "workflow_run_id": str(event.workflow_run_id),
            "attempt": event.attempt,
            # A session is not a person: PostHog need not keep a profile of it.
            "$process_person_profile": False,
            **more,
        },
    )
