"""The Upload aggregate: its state, and `evolve`, the pure function that folds events into it."""

import datetime as dt
from collections.abc import Iterable
from uuid import UUID

import msgspec
from msgspec.structs import replace

from contracts.events import (
    OWNER,
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
    RunEvent,
    Stage,
    StageAttemptFailed,
    Status,
    UploadErased,
    UploadRegistered,
)
from shared.upload.saga import SAGA, next_stage


class Upload(msgspec.Struct, frozen=True, kw_only=True):
    """One upload and the run over it. `version` is the version of the last event folded in.

    `stage` is what is due, or where the run failed; `stage_attempt` is the try that is due, from 1; `due_at` is when it
    may start. `inputs` keeps, for each stage reached, the event that the stage works from. `calls` counts provider
    calls of the run, `generations` those that gave a picture, `unknown_calls` those whose outcome nobody knows: since
    the last replay by an operator, who thereby allows as many again; `max_unknown` is what the last claim allowed.
    `owner_retries` counts how often the owner had the run resumed.
    """

    id: UUID
    version: int
    status: Status = Status.PENDING
    stage: Stage | None = None
    workflow_run_id: UUID | None = None
    attempt: int = 0
    stage_attempt: int = 1
    due_at: dt.datetime
    deadline_at: dt.datetime | None = None
    original_key: str
    inputs: dict[Stage, RunEvent] = {}
    lease_until: dt.datetime | None = None
    calls: int = 0
    unknown_calls: int = 0
    max_unknown: int | None = None
    owner_retries: int = 0
    generations: int = 0
    result_id: UUID | None = None
    failure: ProcessingFailed | None = None
    erased: bool = False


def evolve(upload: Upload | None, event: Event) -> Upload:
    """Fold one event. Raises ValueError where versions skip or a stream does not begin with UploadRegistered."""
    if upload is None:
        if not isinstance(event, UploadRegistered) or event.version != 1:
            raise ValueError(f"a stream begins with UploadRegistered at version 1, not {event.message_id}")
        return Upload(
            id=event.upload_id,
            version=1,
            due_at=event.occurred_at,
            original_key=event.original_key,
        )
    if event.version != upload.version + 1:
        raise ValueError(f"{event.message_id} does not follow version {upload.version}")
    return replace(_folded(upload, event), version=event.version)


def fold(upload: Upload | None, events: Iterable[Event]) -> Upload | None:
    """Fold a stream, oldest first, onto `upload`; the projector function that the event store's repository takes."""
    for event in events:
        upload = evolve(upload, event)
    return upload


def _folded(upload: Upload, event: Event) -> Upload:  # noqa: C901, PLR0911 — one case an event, nothing else
    match event:
        case ProcessingRequested():
            begun = replace(
                upload,
                workflow_run_id=event.workflow_run_id,
                attempt=event.attempt,
                deadline_at=event.deadline_at,
                status=Status.PROCESSING,
            )
            return _entered(begun, Stage.VALIDATING, event)
        case ImageValidated():
            return _entered(upload, next_stage(Stage.VALIDATING), event)
        case GenerationStarted():
            # A lease that is taken over before its call was heard of again leaves that call's outcome unknown.
            unknown = upload.unknown_calls + (upload.lease_until is not None)
            return replace(
                upload,
                lease_until=event.lease_until,
                calls=event.call,
                unknown_calls=unknown,
                max_unknown=event.max_unknown,
            )
        case ImageGenerated():
            done = replace(upload, lease_until=None, generations=upload.generations + 1)
            return _entered(done, next_stage(Stage.GENERATING), event)
        case ResultStored():
            return _entered(replace(upload, result_id=event.result_id), next_stage(Stage.STORING), event)
        case PreviewWatermarked():
            return upload
        case ProcessingCompleted():
            return replace(upload, status=Status.COMPLETED, stage=Stage.COMPLETE)
        case StageAttemptFailed():
            return replace(
                upload,
                stage_attempt=event.stage_attempt + 1,
                due_at=event.retry_at,
                lease_until=None,
                unknown_calls=upload.unknown_calls + event.outcome_unknown,
            )
        case ProcessingFailed():
            unknown = upload.unknown_calls + event.outcome_unknown
            failed = replace(upload, status=Status.FAILED, stage=event.stage, failure=event)
            return replace(failed, lease_until=None, unknown_calls=unknown)
        case ReplayRequested():
            by_owner = event.requested_by == OWNER
            again = replace(
                upload,
                status=Status.PROCESSING,
                attempt=event.attempt,
                deadline_at=event.deadline_at,
                failure=None,
                unknown_calls=upload.unknown_calls if by_owner else 0,
                owner_retries=upload.owner_retries + by_owner,
            )
            return _entered(again, event.from_stage, event)
        case UploadErased():
            return replace(upload, erased=True)
        case UploadRegistered():
            raise ValueError(f"{event.message_id}: an upload is registered once")


def _entered(upload: Upload, stage: Stage, event: RunEvent) -> Upload:
    """Make `stage` the one that is due, on its first try. It works from `event`, and in a replay from what it had."""
    inputs = upload.inputs if isinstance(event, ReplayRequested) else {**upload.inputs, stage: event}
    return replace(upload, stage=stage, stage_attempt=1, due_at=event.occurred_at, inputs=inputs, lease_until=None)


def progress_of(stage: Stage) -> int:
    """Return the percentage that a client sees while `stage` is due; 100 when complete."""
    return 100 if stage is Stage.COMPLETE else SAGA[stage].progress
