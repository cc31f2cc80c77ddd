"""Random legal streams of one upload, for Hypothesis: every next event is one that the aggregate allows."""

import datetime as dt
import random
from uuid import UUID

from hypothesis import strategies as st
from msgspec.structs import replace

from contracts.events import (
    OWNER,
    Event,
    ImageGenerated,
    ImageValidated,
    PreviewWatermarked,
    ProcessingCompleted,
    ResultStored,
    Stage,
    Status,
    UploadErased,
    UploadRegistered,
)
from shared.upload.decisions import (
    record,
    record_failure,
    request_processing,
    request_replay,
    start_generation,
    time_out,
)
from shared.upload.errors import FinalFailure, RetryableFailure
from shared.upload.saga import STAGES
from shared.upload.upload import Upload, fold
from tests.builders import NOW, RUN, UPLOAD, an_event

_RESULTS = {
    Stage.VALIDATING: (ImageValidated,),
    Stage.GENERATING: (ImageGenerated,),
    Stage.STORING: (ResultStored,),
    Stage.WATERMARKING: (PreviewWatermarked, ProcessingCompleted),
}
_STEPS = st.sampled_from(["result", "result", "result", "claim", "retry", "fail", "late"])
_LONG = dt.timedelta(hours=1)


@st.composite
def legal_streams(draw: st.DrawFn, upload_id: UUID = UPLOAD, run_id: UUID = RUN) -> list[Event]:
    """Return a stream: never asked for, under way, completed, failed and replayed, or erased at the end."""
    events: list[Event] = [an_event(UploadRegistered, upload_id=upload_id)]
    now = NOW
    for _ in range(draw(st.integers(0, 20))):
        now += dt.timedelta(seconds=draw(st.integers(1, 500)))
        upload = fold(None, events)
        assert upload is not None
        if upload.status is Status.COMPLETED:
            break
        events += _next(draw, upload, run_id, now)
    if draw(st.integers(0, 9)) == 0:
        events.append(an_event(UploadErased, upload_id=upload_id, version=len(events) + 1, occurred_at=now))
    return events


def _next(draw: st.DrawFn, upload: Upload, run_id: UUID, now: dt.datetime) -> tuple[Event, ...]:
    if upload.status is Status.PENDING:
        return (request_processing(upload, workflow_run_id=run_id, now=now),)
    if upload.status is Status.FAILED:
        stages = [stage for stage in STAGES[: STAGES.index(upload.stage) + 1] if stage in upload.inputs]
        stage = draw(st.sampled_from(stages))
        by = draw(st.sampled_from([OWNER, "ann"]))
        return (request_replay(upload, from_stage=stage, requested_by=by, reason="again", now=now),)
    return _step(draw(_STEPS), draw, upload, now)


def _step(step: str, draw: st.DrawFn, upload: Upload, now: dt.datetime) -> tuple[Event, ...]:
    stage, attempt = upload.stage, upload.attempt
    if step == "claim" and stage is Stage.GENERATING:
        lease_over = max(now, upload.lease_until or now)
        return (start_generation(upload, worker="w", lease=dt.timedelta(minutes=1), max_unknown=99, now=lease_over),)
    if step == "late":
        ended = time_out(upload, now=max(now, upload.deadline_at))
        return (ended,) if ended else ()
    if step in ("retry", "fail"):
        unknown = draw(st.booleans())
        fault = RetryableFailure("BUSY", "Später.", outcome_unknown=unknown)
        fault = fault if step == "retry" else FinalFailure("BROKEN", "It is broken.", replayable=unknown)
        call = upload.calls if upload.lease_until else None
        return (record_failure(upload, stage, attempt, fault, call=call, now=now, jitter=random.Random(0)),)
    identity = {"upload_id": upload.id, "workflow_run_id": upload.workflow_run_id, "attempt": attempt}
    made = tuple(
        replace(an_event(kind), **identity, occurred_at=now, **_varied(draw, kind)) for kind in _RESULTS[stage]
    )
    return record(upload, stage, attempt, made)


def _varied(draw: st.DrawFn, kind: type[Event]) -> dict[str, object]:
    """Vary what ends in a column, so that an older value cannot be taken for a newer one."""
    if kind is ResultStored:
        return {"result_id": draw(st.uuids()), "result_key": f"results/{draw(st.integers(0, 99))}"}
    if kind is PreviewWatermarked:
        return {"width": draw(st.integers(1, 9999)), "preview_key": f"previews/{draw(st.integers(0, 99))}"}
    return {}
