"""A stage and one message: what is recorded, what is left alone, and what costs a read."""

import asyncio
import datetime as dt
from uuid import uuid4

import pytest
from msgspec.structs import replace

from contracts.events import (
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
    UploadRegistered,
)
from shared.clock import utc_now
from shared.cpu_pool import CpuBusyError
from shared.messaging.message import Message
from shared.stages.circuit_breaker import CircuitBreaker
from shared.stages.consumer import StageConsumer
from shared.storage.port import ObjectMissingError, ObjectStoreError
from shared.upload.errors import FinalFailure, RetryableFailure
from tests.builders import A_WHOLE_RUN, CONTENT, UPLOAD, a_run_up_to, a_stream, an_event
from tests.unit.stages.memory_store import MemoryStore


class Counting(MemoryStore):
    """Counts what a message costs, and notes what each append brought."""

    def __init__(self, *stream):
        super().__init__()
        self.streams[UPLOAD] = list(stream)
        self.loads = 0
        self.appends = []

    async def load(self, upload_id, *, wait=None):
        self.loads += 1
        return await super().load(upload_id)

    async def append(self, *events, **kwargs):
        self.appends.append((events, kwargs))
        await super().append(*events, **kwargs)

    def kinds(self):
        return [type(event) for event in self.streams[UPLOAD]]


class Handler:
    """Makes a stage's events, or raises what it was told to; counts how often it was asked."""

    def __init__(self, *kinds, raises=None, claims=False):
        self.kinds, self.raises, self.claims = kinds, raises, claims
        self.asked = 0

    async def __call__(self, event, context):
        self.asked += 1
        if self.claims:
            await context.claim_call(worker="w", lease=dt.timedelta(seconds=90), max_unknown=2)
        if self.raises:
            raise self.raises
        made = tuple(context.build(kind, **CONTENT[kind]) for kind in self.kinds)
        return made[0] if len(made) == 1 else made


async def handled(stage, handler, store, event, **message):
    await StageConsumer(stage, handler, store).handle(Message(event=event, **message))


async def test_a_fresh_message_is_worked_from_without_reading_the_stream():
    stream = a_run_up_to(ProcessingRequested)
    store = Counting(*stream)

    await handled(Stage.VALIDATING, Handler(ImageValidated), store, stream[-1], fresh=True)

    assert store.kinds()[-1] is ImageValidated
    assert store.loads == 0


async def test_two_events_of_one_stage_are_recorded_in_one_append_at_the_first_try():
    stream = a_run_up_to(ResultStored)
    store = Counting(*stream)

    await handled(Stage.WATERMARKING, Handler(PreviewWatermarked, ProcessingCompleted), store, stream[-1], fresh=True)

    assert [[event.version for event in events] for events, _ in store.appends] == [[7, 8]]


async def test_what_is_recorded_names_its_cause_and_passes_the_trace_on():
    stream = a_run_up_to(ProcessingRequested)
    store = Counting(*stream)

    await handled(Stage.VALIDATING, Handler(ImageValidated), store, stream[-1], fresh=True, traceparent="00-1")

    assert store.appends[0][1] == {"causation_id": f"{UPLOAD}:2", "traceparent": "00-1"}


@pytest.mark.parametrize("fresh", [True, False])
async def test_a_message_whose_stage_is_done_changes_nothing(fresh):
    stream = a_run_up_to(ImageValidated)
    store = Counting(*stream)

    await handled(Stage.VALIDATING, Handler(ImageValidated), store, stream[1], fresh=fresh)

    assert store.streams[UPLOAD] == stream


async def test_a_redelivery_of_what_is_done_is_not_even_worked_on():
    stream = a_run_up_to(ImageValidated)
    handler = Handler(ImageValidated)

    await handled(Stage.VALIDATING, handler, Counting(*stream), stream[1])

    assert handler.asked == 0


async def test_a_fresh_message_that_the_stream_has_overtaken_is_looked_at_again():
    failed = an_event(StageAttemptFailed, stage=Stage.GENERATING, retry_at=utc_now() - dt.timedelta(seconds=1))
    stream = a_stream(*A_WHOLE_RUN[:3], failed)
    store = Counting(*stream)

    await handled(Stage.GENERATING, Handler(ImageGenerated, claims=True), store, stream[2], fresh=True)

    assert store.kinds()[-2:] == [GenerationStarted, ImageGenerated]


async def test_a_message_for_an_upload_that_does_not_exist_is_passed_over():
    store = Counting()
    store.streams.clear()

    await handled(Stage.VALIDATING, Handler(ImageValidated), store, an_event(ProcessingRequested))

    assert store.appends == []


FOREIGN = f"originals/{uuid4()}"


async def test_what_a_stage_works_from_is_the_streams_and_not_what_a_message_says():
    stream = a_run_up_to(ProcessingRequested)
    store, worked_from = Counting(*stream), []

    async def handler(event, context):
        worked_from.append(event)
        return context.build(ImageValidated, **CONTENT[ImageValidated])

    await handled(Stage.VALIDATING, handler, store, replace(stream[-1], original_key=FOREIGN))

    assert worked_from == [stream[-1]]


@pytest.mark.parametrize("fresh", [True, False])
async def test_a_stage_touches_nobody_elses_objects_even_where_the_stream_says_so(fresh):
    stream = a_stream(UploadRegistered, an_event(ProcessingRequested))
    stream[-1] = replace(stream[-1], original_key=FOREIGN)
    store, handler = Counting(*stream), Handler(ImageValidated)

    await handled(Stage.VALIDATING, handler, store, stream[-1], fresh=fresh)

    assert handler.asked == 0
    [failed] = [event for event in store.streams[UPLOAD] if isinstance(event, ProcessingFailed)]
    assert (failed.code, failed.retryable) == ("FOREIGN_OBJECT", False)


async def test_a_retry_that_comes_before_its_time_is_passed_over():
    failed = an_event(StageAttemptFailed, retry_at=utc_now() + dt.timedelta(minutes=1))
    stream = a_stream(*A_WHOLE_RUN[:2], failed)
    handler = Handler(ImageValidated)

    await handled(Stage.VALIDATING, handler, Counting(*stream), stream[-1])

    assert handler.asked == 0


async def test_a_replay_works_from_what_the_stage_had_before_as_the_next_attempt():
    failed = an_event(ProcessingFailed, stage=Stage.STORING)
    again = an_event(ReplayRequested, from_stage=Stage.STORING, attempt=2)
    stream = a_stream(*A_WHOLE_RUN[:5], failed, again)
    store = Counting(*stream)

    await handled(Stage.STORING, Handler(ResultStored), store, stream[-1])

    assert (store.kinds()[-1], store.streams[UPLOAD][-1].attempt) == (ResultStored, 2)


async def test_no_second_worker_calls_while_a_call_is_under_way():
    lease = an_event(GenerationStarted, lease_until=utc_now() + dt.timedelta(minutes=1))
    stream = a_stream(*A_WHOLE_RUN[:3], lease)
    store = Counting(*stream)

    await handled(Stage.GENERATING, Handler(ImageGenerated, claims=True), store, stream[2])

    assert store.streams[UPLOAD] == stream
    # The holder may be dead, and this message was the only one.
    assert store.looks == [(UPLOAD, lease.lease_until)]


FAULTS = [
    (RetryableFailure("BUSY", "Later."), "BUSY", StageAttemptFailed),
    (FinalFailure("IMAGE_CORRUPT", "Damaged."), "IMAGE_CORRUPT", ProcessingFailed),
    (TimeoutError(), "STAGE_TIMED_OUT", StageAttemptFailed),
    (CpuBusyError("full"), "BUSY", StageAttemptFailed),
    (ObjectStoreError("away"), "STORAGE_UNAVAILABLE", StageAttemptFailed),
    (ObjectMissingError("gone"), "OBJECT_MISSING", ProcessingFailed),
    (KeyError("a bug"), "INTERNAL_ERROR", StageAttemptFailed),
    (MemoryError(), "INTERNAL_ERROR", StageAttemptFailed),
]


@pytest.mark.parametrize(
    ("error", "code", "recorded"), FAULTS, ids=lambda value: getattr(value, "__name__", str(value))
)
async def test_whatever_a_stage_raises_ends_in_the_stream_and_says_nothing_of_its_inside(error, code, recorded):
    stream = a_run_up_to(ProcessingRequested)
    store = Counting(*stream)

    await handled(Stage.VALIDATING, Handler(raises=error), store, stream[-1], fresh=True)

    last = store.streams[UPLOAD][-1]
    assert (type(last), last.code) == (recorded, code)
    assert "a bug" not in last.message


async def test_a_call_that_failed_on_the_way_may_have_been_paid_for():
    stream = a_run_up_to(ImageValidated)
    store = Counting(*stream)

    await handled(Stage.GENERATING, Handler(raises=KeyError(), claims=True), store, stream[-1], fresh=True)

    assert store.streams[UPLOAD][-1].outcome_unknown


async def test_a_stage_that_takes_too_long_is_stopped_and_tried_again():
    stream = a_run_up_to(ProcessingRequested)
    store = Counting(*stream)

    async def hang(event, context):
        await asyncio.Event().wait()

    consumer = StageConsumer(Stage.VALIDATING, hang, store)
    consumer.spec = replace(consumer.spec, timeout=0.01)
    await consumer.handle(Message(event=stream[-1], fresh=True))

    assert store.streams[UPLOAD][-1].code == "STAGE_TIMED_OUT"


async def test_a_cancelled_worker_records_nothing_so_that_its_message_comes_again():
    stream = a_run_up_to(ProcessingRequested)
    store = Counting(*stream)
    begun = asyncio.Event()

    async def hang(event, context):
        begun.set()
        await asyncio.Event().wait()

    task = asyncio.create_task(handled(Stage.VALIDATING, hang, store, stream[-1], fresh=True))
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert store.streams[UPLOAD] == stream


async def test_nothing_is_taken_up_while_what_the_stage_calls_is_down():
    stream = a_run_up_to(ProcessingRequested)
    handler = Handler(ImageValidated)
    breaker = CircuitBreaker(frozenset({"DOWN"}), threshold=1, pause=60)
    breaker.failed("DOWN")

    with pytest.raises(TimeoutError):
        await asyncio.wait_for(
            StageConsumer(Stage.VALIDATING, handler, Counting(*stream), breaker).handle(Message(event=stream[-1])), 0.05
        )

    assert handler.asked == 0


def an_open_breaker():
    """Return a breaker whose first pause is over in a moment, and whose next would outlast the test."""
    breaker = CircuitBreaker(frozenset({"DOWN"}), threshold=1, pause=0.05)
    breaker.failed("DOWN")
    breaker._pause = 60
    return breaker


async def test_a_message_with_nothing_to_do_does_not_use_up_the_try_that_a_broken_side_is_given():
    """A queue full of repeated messages would hold the real ones behind it for a pause each."""
    over, due = a_run_up_to(ImageGenerated), a_run_up_to(ImageValidated)
    handler, breaker, store = Handler(ImageGenerated, claims=True), an_open_breaker(), Counting(*over)
    stage = StageConsumer(Stage.GENERATING, handler, store, breaker)

    for _ in range(3):
        await asyncio.wait_for(stage.handle(Message(event=due[-1])), 5)
    assert handler.asked == 0
    store.streams[UPLOAD] = list(due)
    await asyncio.wait_for(stage.handle(Message(event=due[-1])), 5)

    assert handler.asked == 1
    assert breaker.closed


async def test_work_that_needed_no_call_says_nothing_of_the_other_side():
    due = a_run_up_to(ImageValidated)
    breaker = an_open_breaker()
    stage = StageConsumer(Stage.GENERATING, Handler(ImageGenerated), Counting(*due), breaker)

    await asyncio.wait_for(stage.handle(Message(event=due[-1])), 5)

    assert not breaker.closed
    assert await asyncio.wait_for(breaker.wait(), 5)


async def test_an_upload_that_was_never_asked_for_is_not_worked_on():
    handler = Handler(ImageValidated)

    await handled(Stage.VALIDATING, handler, Counting(*a_stream(UploadRegistered)), an_event(ProcessingRequested))

    assert handler.asked == 0
