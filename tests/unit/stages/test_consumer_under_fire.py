"""One upload, many workers, and everything that can go wrong between them, in any order that Hypothesis finds.

A worker stands still wherever a process could die or be slow: before and after each read, each append and each piece of
work. The rules let one go on, kill it, deliver any message again, pass time, time the run out and replay it.
"""

import asyncio
import datetime as dt
from collections import Counter
from functools import partial
from itertools import pairwise
from unittest import mock

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, multiple, rule

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
    Status,
)
from shared.eventstore.outbox import EXCHANGE
from shared.messaging.message import Message
from shared.stages.consumer import StageConsumer
from shared.upload.decisions import request_processing, request_replay, time_out
from shared.upload.errors import FinalFailure, RetryableFailure
from shared.upload.saga import ROUTES, SAGA, STAGE_OF_QUEUE
from shared.upload.upload import fold
from tests.builders import CONTENT, NOW, RESULT, RUN, UPLOAD, a_registered_upload
from tests.unit.stages.memory_store import MemoryStore

LEASE = dt.timedelta(seconds=170)
ONCE_AN_ATTEMPT = (ImageValidated, ImageGenerated, ResultStored, PreviewWatermarked, ProcessingCompleted)
MADE = {
    Stage.VALIDATING: (ImageValidated,),
    Stage.GENERATING: (ImageGenerated,),
    Stage.STORING: (ResultStored,),
    Stage.WATERMARKING: (PreviewWatermarked, ProcessingCompleted),
}
ENDS = ("made", "made", "made", "retry", "unknown", "final", "bug")


class Worker:
    """One delivery being handled. It stands at `gate` until it is let on."""

    def __init__(self, message: Message, queue: str) -> None:
        self.message = message
        self.queue = queue
        self.gate: asyncio.Future[None] | None = None
        self.task: asyncio.Task[None] | None = None
        self.end = "made"

    @property
    def alive(self) -> bool:
        return self.task is not None and not self.task.done()


class Fire(RuleBasedStateMachine):
    """The aggregate and the StageConsumer under every fault that needs no real server."""

    workers = Bundle("workers")

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.now = NOW
        self.store = MemoryStore(self._gate)
        self.by_task: dict[asyncio.Task[None] | None, Worker] = {}
        self.clock = mock.patch("shared.stages.consumer.utc_now", self._clock)
        self.clock.start()
        self.consumers = {
            SAGA[stage].queue: StageConsumer(stage, partial(self._work, stage), self.store) for stage in SAGA
        }
        self.progress = 0
        self.calls: list[GenerationStarted] = []

    # What the workers run into.

    async def _gate(self) -> None:
        worker = self.by_task[asyncio.current_task()]
        worker.gate = self.loop.create_future()
        await worker.gate

    async def _work(self, stage, event, context):
        """Stand in for a handler: it takes its time, and ends as the rule that let it on said."""
        await self._gate()
        if stage is Stage.GENERATING:
            await context.claim_call(worker="w", lease=LEASE, max_unknown=2)
            await self._gate()
        worker = self.by_task[asyncio.current_task()]
        match worker.end:
            case "retry":
                raise RetryableFailure("BUSY", "Later.")
            case "unknown":
                raise RetryableFailure("PROVIDER_TIMED_OUT", "Later.", outcome_unknown=True)
            case "final":
                raise FinalFailure("BROKEN", "It is broken.", replayable=True)
            case "bug":
                raise KeyError("nobody foresaw this")
        return tuple(context.build(kind, **CONTENT[kind]) for kind in MADE[stage])

    def _clock(self) -> dt.datetime:
        return self.now

    def _turn(self) -> None:
        """Let the loop go until every worker stands at a gate or is done."""

        async def remove_published() -> None:
            for _ in range(12):
                await asyncio.sleep(0)

        self.loop.run_until_complete(remove_published())

    def _deliver(self, row, *, fresh: bool) -> list[Worker]:
        queues = ROUTES[type(row.event)] if row.target == EXCHANGE else (row.target,)
        started = []
        for queue in queues:
            if queue not in STAGE_OF_QUEUE:
                continue
            worker = Worker(Message(event=row.event, fresh=fresh and row.target == EXCHANGE), queue)
            worker.task = self.loop.create_task(self.consumers[queue].handle(worker.message))
            self.by_task[worker.task] = worker
            started.append(worker)
        self._turn()
        return started

    def _upload(self):
        return fold(None, self.store.streams[UPLOAD])

    # The rules.

    @initialize(target=workers)
    def start(self):
        self.store.write(a_registered_upload(UPLOAD))
        self.store.write(request_processing(self._upload(), workflow_run_id=RUN, now=self.now))
        return multiple(*self._deliver(self.store.outbox[0], fresh=True))

    @rule(target=workers, nth=st.integers(0, 40), fresh=st.booleans())
    def deliver_any_message_once_more(self, nth, fresh):
        return multiple(*self._deliver(self.store.outbox[-1 - nth % len(self.store.outbox)], fresh=fresh))

    @rule(target=workers, nth=st.integers(0, 3))
    def deliver_one_of_the_latest(self, nth):
        return multiple(*self._deliver(self.store.outbox[-1 - nth % len(self.store.outbox)], fresh=True))

    @rule(worker=workers, end=st.sampled_from(ENDS), steps=st.integers(1, 8))
    def let_a_worker_go_on(self, worker, end, steps):
        worker.end = end
        for _ in range(steps):
            self._let_on(worker)

    @rule(worker=consumes(workers))
    def kill_a_worker(self, worker):
        """Its message comes again with a later `deliver_any_message_once_more`."""
        if worker.alive:
            worker.task.cancel()
            self._turn()

    @rule(seconds=st.sampled_from([1, 10, 70, 180, 400]))
    def pass_time(self, seconds):
        self.now += dt.timedelta(seconds=seconds)

    @rule()
    def time_the_run_out(self):
        upload = self._upload()
        if upload.status is Status.PROCESSING:
            self.now = max(self.now, upload.deadline_at)
            self.store.write(time_out(upload, now=self.now))

    @rule(from_the_start=st.booleans())
    def replay_a_failed_run(self, from_the_start):
        upload = self._upload()
        if upload.status is Status.FAILED:
            stage = Stage.VALIDATING if from_the_start else None
            self.store.write(request_replay(upload, from_stage=stage, requested_by="u", reason="r", now=self.now))

    @rule()
    def ask_for_processing_again(self):
        # The gateway decides on the read model's row, which may be older than the stream: then the append conflicts.
        stale = fold(None, self.store.streams[UPLOAD][:1])
        try:
            self.store.write(request_processing(stale, workflow_run_id=RESULT, now=self.now))
        except Exception as refused:  # noqa: BLE001 — which one it is, is what the next line says
            assert type(refused).__name__ == "ConflictError"  # noqa: PT017
        else:
            raise AssertionError("an upload was processed twice")

    def _let_on(self, worker: Worker) -> None:
        if worker.alive and worker.gate is not None and not worker.gate.done():
            worker.gate.set_result(None)
            self._turn()

    # What holds whatever happens.

    @invariant()
    def versions_have_no_gaps_and_the_stream_folds(self):
        stream = self.store.streams.get(UPLOAD, [])
        assert [event.version for event in stream] == list(range(1, len(stream) + 1))
        fold(None, stream)

    @invariant()
    def a_run_begins_once_and_each_result_shows_once_an_attempt(self):
        stream = self.store.streams.get(UPLOAD, [])
        seen = Counter((type(event), event.attempt) for event in stream[1:])
        assert sum(isinstance(event, ProcessingRequested) for event in stream) <= 1
        assert [kind for kind in seen if kind[0] in ONCE_AN_ATTEMPT and seen[kind] > 1] == []

    @invariant()
    def an_attempt_ends_once_and_nothing_follows_its_end_but_a_replay(self):
        stream = self.store.streams.get(UPLOAD, [])
        for before, after in pairwise(stream):
            assert not isinstance(before, ProcessingCompleted), f"{after} after the end"
            if isinstance(before, ProcessingFailed):
                assert isinstance(after, ReplayRequested)
            else:
                assert not isinstance(after, ReplayRequested)
                assert isinstance(after, ProcessingRequested) or after.attempt == before.attempt

    @invariant()
    def progress_never_goes_back(self):
        if UPLOAD in self.store.rows:
            assert self.store.rows[UPLOAD].progress >= self.progress
            self.progress = self.store.rows[UPLOAD].progress

    @invariant()
    def no_second_call_begins_while_one_may_be_under_way(self):
        alive: GenerationStarted | None = None
        for event in self.store.streams.get(UPLOAD, []):
            if isinstance(event, GenerationStarted):
                assert alive is None or alive.lease_until <= event.occurred_at, f"{event} beside {alive}"
                alive = event
            elif isinstance(event, ImageGenerated | StageAttemptFailed | ProcessingFailed | ReplayRequested):
                alive = None

    @invariant()
    def no_worker_dies_of_what_happens(self):
        for worker in self.by_task.values():
            if worker.task.done() and not worker.task.cancelled():
                assert worker.task.exception() is None

    def teardown(self):
        """Whatever happened: once the faults stop, the run ends."""
        try:
            if UPLOAD in self.store.streams:
                self._calm_down()
                assert self._upload().status in (Status.COMPLETED, Status.FAILED)
                self.versions_have_no_gaps_and_the_stream_folds()
                self.a_run_begins_once_and_each_result_shows_once_an_attempt()
        finally:
            self.clock.stop()
            self.loop.close()

    def _calm_down(self) -> None:
        for worker in self.by_task.values():
            worker.task.cancel()
        self._turn()
        for _ in range(12):
            upload = self._upload()
            if upload.status is not Status.PROCESSING:
                return
            # The dispatcher's look at a silent run: what the stage works from, sent once more.
            self.now = max(self.now, upload.lease_until or self.now, upload.due_at)
            worker = Worker(Message(event=upload.inputs[upload.stage]), SAGA[upload.stage].queue)
            worker.task = self.loop.create_task(self.consumers[worker.queue].handle(worker.message))
            self.by_task[worker.task] = worker
            self._turn()
            while worker.alive:
                self._let_on(worker)


TestFire = Fire.TestCase
TestFire.settings = settings(
    max_examples=100,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
