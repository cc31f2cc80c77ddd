"""A stage's life with one message, written once for all stages: is it due? do it, record it, or record why not.

Order of effects: bytes first (harmless if repeated), then one transaction, then the acknowledgement.
"""

import asyncio
import datetime as dt
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from msgspec.structs import replace

from contracts.events import GenerationStarted, RunEvent, Stage
from shared.clock import utc_now
from shared.eventstore.group_commit import ConflictError
from shared.eventstore.store import EventStore
from shared.messaging.message import Message
from shared.stages.circuit_breaker import CircuitBreaker
from shared.stages.failure_policy import UNFORESEEN, as_failure
from shared.stages.telemetry import StageTelemetry
from shared.storage.keys import is_own
from shared.upload.decisions import due_input, record, record_failure, start_generation
from shared.upload.errors import FencedError, FinalFailure, LeaseHeldError, StageFailure, UploadNotFoundError
from shared.upload.saga import SAGA, StageSpec
from shared.upload.upload import Upload

E = TypeVar("E", bound=RunEvent)


class StageContext:
    """What a handler may know and do beside its event. Lives for one try.

    `calls` and `generations` are the run's, as of the try's beginning: how often the AI provider was called, and how
    often that gave a picture. `call` is the number of the call that this try has claimed.
    """

    def __init__(self, work: "DueWork", store: EventStore, message: Message) -> None:
        self.calls = work.upload.calls if work.upload else 0
        self.generations = work.upload.generations if work.upload else 0
        self.call: int | None = None
        self._work = work
        self._store = store
        self._message = message
        self._began = time.monotonic()

    @property
    def seconds(self) -> float:
        """How long this try has been going on."""
        return time.monotonic() - self._began

    def build(self, kind: Callable[..., E], **content: object) -> E:
        """Build the stage's event from its content; what identifies it and its run is filled in here.

        Of several, each is numbered when they are recorded.
        """
        event = self._work.event
        return kind(
            upload_id=event.upload_id,
            version=self._work.version + 1,
            occurred_at=utc_now(),
            workflow_run_id=event.workflow_run_id,
            attempt=self._work.attempt,
            **content,
        )

    async def claim_call(self, *, worker: str, lease: dt.timedelta, max_unknown: int) -> None:
        """Record GenerationStarted: from here to the end of the lease nobody else calls the provider for this run.

        Raises LeaseHeldError, FencedError, ConflictError (the stream moved on: look again), or FinalFailure where too
        many calls have an unknown outcome.
        """
        if self._work.upload is None:
            started = self.build(
                GenerationStarted, worker=worker, call=1, lease_until=utc_now() + lease, max_unknown=max_unknown
            )
        else:
            started = start_generation(
                self._work.upload, worker=worker, lease=lease, max_unknown=max_unknown, now=utc_now()
            )
        await self._store.append(started, causation_id=self._message.event.message_id)
        self._work.version = started.version
        self.call = started.call


class DueWork:
    """What is due: the event to work from, and where the stream stood. `upload` is None where nobody has read it."""

    def __init__(self, event: RunEvent, version: int, attempt: int, upload: Upload | None) -> None:
        self.event = event
        self.version = version
        self.attempt = attempt
        self.upload = upload


Handler = Callable[[E, StageContext], Awaitable[RunEvent | tuple[RunEvent, ...]]]


class StageConsumer:
    """Runs one stage. Many messages at a time; each is done, recorded as failed, or left for a redelivery."""

    def __init__(
        self, stage: Stage, handler: Handler[RunEvent], store: EventStore, breaker: CircuitBreaker | None = None
    ) -> None:
        self.spec: StageSpec = SAGA[stage]
        self._handler = handler
        self._store = store
        self._breaker = breaker or CircuitBreaker()
        self._jitter = random.Random()
        self._telemetry = StageTelemetry(self.spec)

    async def handle(self, message: Message) -> None:
        """Carry one upload through this stage, if it is due. Returns once that is recorded, or nothing is to do."""
        probe = await self._breaker.wait()
        try:
            work = self._fresh_work(message) or await self._load_due(message)
            while work is not None:
                try:
                    await self._execute(work, message, probe=probe)
                except ConflictError:
                    work = await self._load_due(message)
                else:
                    return
            self._telemetry.skipped(message.event.message_id, "nothing is due")
        except (FencedError, UploadNotFoundError) as why:
            self._telemetry.skipped(message.event.message_id, why)
        except LeaseHeldError as why:
            # Its holder may be dead, and this message was the only one: have the run looked at when the lease ends.
            await self._store.bring_check_forward(message.event.upload_id, by=why.until)
            self._telemetry.skipped(message.event.message_id, why)
        finally:
            if probe:
                self._breaker.probe_ended()

    def _fresh_work(self, message: Message) -> DueWork | None:
        """Trust a fresh message instead of reading the stream.

        An event at version v is the aggregate's last until an append at v + 1 proves otherwise, and that append is what
        the work ends in (the generator's begins with one). Only of a run's first attempt can one message tell all.
        """
        event = message.event
        if message.fresh and isinstance(event, self.spec.consumes) and event.attempt == 1:
            return DueWork(event, event.version, event.attempt, None)
        return None

    async def _load_due(self, message: Message) -> DueWork | None:
        upload = await self._store.load(message.event.upload_id)
        event = due_input(upload, self.spec.stage)
        if event is None or upload.due_at > utc_now() + dt.timedelta(seconds=1):
            return None
        return DueWork(event, upload.version, upload.attempt, upload)

    async def _execute(self, work: DueWork, message: Message, *, probe: bool) -> None:
        context = StageContext(work, self._store, message)
        outcome = await self._attempt(work, context)
        if isinstance(outcome, StageFailure):
            self._breaker.failed(outcome.code, probe=probe)
            await self._record_failure(work, message, outcome, context)
            return
        if context.call is not None:  # A picture that a dead worker left says nothing of the provider.
            self._breaker.succeeded()
        await self._record(work, message, outcome)
        self._telemetry.done(work.attempt, context.seconds)

    async def _attempt(self, work: DueWork, context: StageContext) -> tuple[RunEvent, ...] | StageFailure:
        """Return what the handler made, or its failure.

        The failure comes without the frames that it passed through: they hold the handler's picture, and the database
        may be away for as long as it likes before the failure is recorded.
        """
        try:
            _check_keys(work.event)
            async with asyncio.timeout(self.spec.timeout):
                made = await self._handler(work.event, context)
        except (ConflictError, FencedError, LeaseHeldError):
            raise
        except Exception as error:  # noqa: BLE001 — whatever it is, the run has to be told
            failure = as_failure(error, call_under_way=context.call is not None)
            if failure.code == UNFORESEEN:
                self._telemetry.unforeseen(work.attempt, error)
            failure.__cause__ = failure.__context__ = None
            return failure.with_traceback(None)
        return made if isinstance(made, tuple) else (made,)

    async def _record(self, work: DueWork, message: Message, made: tuple[RunEvent, ...]) -> None:
        """Append what was made; where the stream has moved on, only if the stage is still due for this attempt."""
        made = tuple(replace(event, version=work.version + nth) for nth, event in enumerate(made, start=1))
        while True:
            try:
                await self._append(made, message)
            except ConflictError:
                upload = await self._store.load(work.event.upload_id)
                made = record(upload, self.spec.stage, work.attempt, made)
            else:
                return

    async def _record_failure(
        self, work: DueWork, message: Message, failure: StageFailure, context: StageContext
    ) -> None:
        while True:
            upload = await self._store.load(work.event.upload_id)
            failed = record_failure(
                upload, self.spec.stage, work.attempt, failure, call=context.call, now=utc_now(), jitter=self._jitter
            )
            try:
                await self._append((failed,), message)
            except ConflictError:
                continue
            self._telemetry.failed(work.attempt, context.seconds, failure, failed)
            return

    async def _append(self, events: Sequence[RunEvent], message: Message) -> None:
        await self._store.append(*events, causation_id=message.event.message_id, traceparent=message.traceparent)


def _check_keys(event: RunEvent) -> None:
    """See that a stage touches nobody else's objects, whatever it was told. Raises FinalFailure."""
    keys = [getattr(event, field) for field in event.__struct_fields__ if field.endswith("_key")]
    if not all(is_own(event.upload_id, key) for key in keys):
        raise FinalFailure("FOREIGN_OBJECT", "This picture belongs to another upload.")
