"""What may happen next: each command looks at the aggregate and returns the events, or raises a named refusal.

Pure: the clock and the random numbers come in as arguments. Versions continue from the aggregate that was given, so an
append of what a decision returned succeeds only if nothing else was recorded in between.
"""

import datetime as dt
import random
from typing import TypeVar
from uuid import UUID

from msgspec.structs import replace

from contracts.events import (
    OWNER,
    GenerationStarted,
    ProcessingFailed,
    ProcessingRequested,
    ReplayRequested,
    RunEvent,
    Stage,
    StageAttemptFailed,
    Status,
    UploadErased,
)
from shared.upload.errors import (
    AlreadyProcessingError,
    FencedError,
    FinalFailure,
    LeaseHeldError,
    NotReplayableError,
    RetriesExhaustedError,
    RetryableFailure,
    RunUnderWayError,
    StageFailure,
    UploadNotFoundError,
)
from shared.upload.saga import OWNER_RETRIES, RUN_DEADLINE, SAGA, STAGES
from shared.upload.upload import Upload

E = TypeVar("E", bound=RunEvent)


def request_processing(upload: Upload, *, workflow_run_id: UUID, now: dt.datetime) -> ProcessingRequested:
    """Start the one run of a pending upload. Raises AlreadyProcessingError once that was done.

    Raises UploadNotFoundError where it was erased.
    """
    if upload.erased:
        raise UploadNotFoundError(upload.id)
    if upload.status is not Status.PENDING:
        raise AlreadyProcessingError(upload.id, upload.status, upload.workflow_run_id)
    return ProcessingRequested(
        upload_id=upload.id,
        version=upload.version + 1,
        occurred_at=now,
        workflow_run_id=workflow_run_id,
        attempt=1,
        original_key=upload.original_key,
        deadline_at=now + RUN_DEADLINE,
    )


def due_input(upload: Upload, stage: Stage) -> RunEvent | None:
    """Return the event that `stage` has to work from now, or None where it is not due (done, failed, elsewhere)."""
    if upload.status is not Status.PROCESSING or upload.stage is not stage:
        return None
    return upload.inputs.get(stage)


def start_generation(
    upload: Upload, *, worker: str, lease: dt.timedelta, max_unknown: int, now: dt.datetime
) -> GenerationStarted:
    """Claim the next provider call of a run for `lease`.

    Raises FencedError where generating is not due, LeaseHeldError while another claim is alive, and FinalFailure once
    more than `max_unknown` calls have an unknown outcome: each may have been paid for.
    """
    if due_input(upload, Stage.GENERATING) is None:
        raise FencedError(f"generating is not due for upload {upload.id}")
    if upload.lease_until is not None and upload.lease_until > now:
        raise LeaseHeldError(upload.id, upload.lease_until)
    if upload.unknown_calls + (upload.lease_until is not None) > max_unknown:
        raise FinalFailure("GENERATION_OUTCOME_UNKNOWN", "The picture could not be finished.")
    return GenerationStarted(
        upload_id=upload.id,
        version=upload.version + 1,
        occurred_at=now,
        workflow_run_id=run_id_of(upload),
        attempt=upload.attempt,
        worker=worker,
        call=upload.calls + 1,
        lease_until=now + lease,
        max_unknown=max_unknown,
    )


def record(upload: Upload, stage: Stage, attempt: int, outcome: tuple[E, ...]) -> tuple[E, ...]:
    """Accept what a stage made, renumbered to follow the aggregate.

    Raises FencedError where the stage is not due any more or a later attempt has begun.
    """
    if due_input(upload, stage) is None or upload.attempt != attempt:
        raise FencedError(f"{stage} of attempt {attempt} is not due for upload {upload.id}")
    return tuple(replace(event, version=upload.version + nth) for nth, event in enumerate(outcome, start=1))


def record_failure(
    upload: Upload,
    stage: Stage,
    attempt: int,
    failure: StageFailure,
    *,
    call: int | None = None,
    now: dt.datetime,
    jitter: random.Random,
) -> StageAttemptFailed | ProcessingFailed:
    """Note that a stage's try failed: it is tried again later, or the run ends where that is final or one too many.

    `call` is the call that the try had claimed. Raises FencedError as `record` does, and where another worker has
    claimed a call after it: that worker's try is alive. Raises LeaseHeldError where the try had claimed none and
    another worker's call may be under way.
    """
    if due_input(upload, stage) is None or upload.attempt != attempt:
        raise FencedError(f"{stage} of attempt {attempt} is not due for upload {upload.id}")
    if call is not None and upload.calls != call:
        raise FencedError(f"call {call} of upload {upload.id} was taken over by call {upload.calls}")
    unknown = failure.outcome_unknown
    if call is None and upload.lease_until is not None:
        if upload.lease_until > now:
            raise LeaseHeldError(upload.id, upload.lease_until)
        unknown = True  # The worker that had claimed it died, or it would have let go of the lease.
    if isinstance(failure, RetryableFailure) and upload.stage_attempt < SAGA[stage].attempts:
        return StageAttemptFailed(
            upload_id=upload.id,
            version=upload.version + 1,
            occurred_at=now,
            workflow_run_id=run_id_of(upload),
            attempt=attempt,
            stage=stage,
            stage_attempt=upload.stage_attempt,
            code=failure.code,
            message=failure.message,
            retry_at=now + backoff(stage, upload.stage_attempt, failure.retry_after, jitter),
            outcome_unknown=unknown,
        )
    return _failed(upload, failure, outcome_unknown=unknown, now=now)


def time_out(upload: Upload, *, now: dt.datetime) -> ProcessingFailed | None:
    """End a run that is past its deadline; None where it is not, or has ended."""
    if upload.status is not Status.PROCESSING or upload.deadline_at is None or upload.deadline_at > now:
        return None
    failure = FinalFailure("TIMED_OUT", "This took too long and was stopped.", replayable=True)
    return _failed(upload, failure, outcome_unknown=upload.lease_until is not None, now=now)


def request_replay(
    upload: Upload, *, from_stage: Stage | None, requested_by: str, reason: str, now: dt.datetime
) -> ReplayRequested:
    """Resume a failed run as its next attempt, at the stage that failed or at an earlier one.

    Raises NotReplayableError where the run did not fail, the stage lies after the one that failed, or what the stage
    works from was never made.
    """
    if upload.status is not Status.FAILED or upload.failure is None or upload.erased:
        raise NotReplayableError(upload.id, upload.status, "only a failed run can be replayed")
    stage = from_stage or upload.failure.stage
    if stage not in SAGA or STAGES.index(stage) > STAGES.index(upload.failure.stage):
        raise NotReplayableError(upload.id, upload.status, f"it failed at {upload.failure.stage}, before {stage}")
    if stage not in upload.inputs:
        raise NotReplayableError(upload.id, upload.status, f"there is nothing that {stage} could work from")
    return ReplayRequested(
        upload_id=upload.id,
        version=upload.version + 1,
        occurred_at=now,
        workflow_run_id=run_id_of(upload),
        attempt=upload.attempt + 1,
        from_stage=stage,
        requested_by=requested_by,
        reason=reason,
        deadline_at=now + RUN_DEADLINE,
    )


def request_retry(upload: Upload, *, now: dt.datetime) -> ReplayRequested:
    """Resume a failed run for its owner, at the stage that failed.

    Raises NotReplayableError where the run did not fail or its failure is final, RetriesExhaustedError where the
    owner's retries, or the calls of unknown outcome, are used up.
    """
    if upload.status is Status.FAILED and upload.failure is not None:
        if (why := _exhausted(upload)) is not None:
            raise RetriesExhaustedError(upload.id, upload.status, why)
        if not upload.failure.retryable:
            raise NotReplayableError(upload.id, upload.status, "the failure is final")
    return request_replay(upload, from_stage=None, requested_by=OWNER, reason="asked to try again", now=now)


def erase(upload: Upload, *, requested_by: str, reason: str, now: dt.datetime) -> UploadErased | None:
    """Forget a person's upload; None where that was done. Raises RunUnderWayError while stages make pictures of it."""
    if upload.erased:
        return None
    if upload.status is Status.PROCESSING:
        raise RunUnderWayError(upload.id)
    return UploadErased(
        upload_id=upload.id, version=upload.version + 1, occurred_at=now, requested_by=requested_by, reason=reason
    )


def backoff(stage: Stage, stage_attempt: int, retry_after: float, jitter: random.Random) -> dt.timedelta:
    """Return the wait after try number `stage_attempt`: doubling, capped, spread upwards, never under `retry_after`.

    The jitter only lengthens: a server that asked for 30 s is not asked again after 29.
    """
    row = SAGA[stage]
    step = min(row.backoff * 2 ** (stage_attempt - 1), row.backoff_max)
    return dt.timedelta(seconds=max(step, retry_after) + jitter.uniform(0, step / 2))


def next_check_at(upload: Upload, *, now: dt.datetime, every: dt.timedelta) -> dt.datetime:
    """Return when a run under way is to be checked next: when its stage goes overdue, at the latest after `every`.

    A stage that is overdue already is woken less and less often: behind a long queue, waking again only lengthens it.
    """
    overdue = overdue_at(upload)
    if overdue > now:
        return min(overdue, now + every)
    return now + max(every, now - upload.due_at)


def overdue_at(upload: Upload) -> dt.datetime:
    """Return the instant after which a run's due stage counts as silent and is woken again.

    A generation is silent once its lease has ended; any stage once twice its time-out has passed since it was due.
    """
    if upload.stage is None or upload.stage not in SAGA:
        raise ValueError(f"no stage of upload {upload.id} is due")
    if upload.lease_until is not None:
        return upload.lease_until
    return upload.due_at + dt.timedelta(seconds=2 * SAGA[upload.stage].timeout)


def run_id_of(upload: Upload) -> UUID:
    """Return the run's id. Raises ValueError before a run was asked for."""
    if upload.workflow_run_id is None:
        raise ValueError(f"upload {upload.id} has no run")
    return upload.workflow_run_id


def _exhausted(upload: Upload) -> str | None:
    """Say, for a person, which bound forbids the owner to have the due stage tried again; None where none does."""
    if upload.owner_retries >= OWNER_RETRIES:
        return f"It was tried again {OWNER_RETRIES} times, which is as often as its owner may."
    allowed = upload.max_unknown if upload.stage is Stage.GENERATING else None
    if allowed is not None and upload.unknown_calls > allowed:
        return "The picture service was asked too often without an answer. Each time may have cost money."
    return None


def _failed(upload: Upload, failure: StageFailure, *, outcome_unknown: bool, now: dt.datetime) -> ProcessingFailed:
    if upload.stage is None:
        raise ValueError(f"upload {upload.id} has no run")
    may_pass = not isinstance(failure, FinalFailure) or failure.replayable
    counted = replace(upload, unknown_calls=upload.unknown_calls + outcome_unknown)
    return ProcessingFailed(
        upload_id=upload.id,
        version=upload.version + 1,
        occurred_at=now,
        workflow_run_id=run_id_of(upload),
        attempt=upload.attempt,
        stage=upload.stage,
        code=failure.code,
        message=failure.message,
        retryable=may_pass and _exhausted(counted) is None,
        outcome_unknown=outcome_unknown,
    )
