"""The one place that names every concrete class: settings in, a running process's parts out."""

import asyncio
import contextlib
import os
import signal
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import cached_property, partial
from typing import Any, Protocol

from psycopg_pool import AsyncConnectionPool

from contracts.events import Stage
from shared.cpu_pool import CpuPool
from shared.database.conninfo import conninfo_with_timeouts
from shared.eventstore.application import UploadsApplication
from shared.eventstore.group_commit import GroupCommit
from shared.eventstore.outbox import OutboxRow, OutboxSweep
from shared.eventstore.store import EventStore
from shared.eventstore.stream_reader import StreamReader
from shared.messaging.embedded_transport import EmbeddedTransport
from shared.messaging.message import Consumer, Transport
from shared.messaging.rabbit_transport import RabbitTransport
from shared.messaging.relay import Relay
from shared.observability import logs, traces
from shared.observability.health_server import HealthServer
from shared.observability.metrics import ASYNCIO_TASKS, BREAKER_OPEN, COMMIT_APPENDS, COMMIT_SECONDS
from shared.observability.readiness import Readiness
from shared.operations.replay_leases import ReplayLeases
from shared.operations.replay_runner import ReplayRunner
from shared.settings import Settings, SettingsError
from shared.stages.backlog import Backlog
from shared.stages.circuit_breaker import CircuitBreaker
from shared.stages.consumer import Handler, StageConsumer
from shared.stages.message_telemetry import MeasuredConsumer
from shared.stages.outbox_dispatcher import Dispatcher
from shared.storage.open import open_configured_store
from shared.storage.port import ObjectStore
from shared.upload.saga import SAGA

READ_TIMEOUT = 2.0
"""Seconds that a reader waits for a database connection."""
DATABASE_EVERY, OBJECTS_EVERY = 5.0, 30.0
"""Seconds between looks at whether each is there. A look at a bucket may cost money, if little."""
PICTURES_AT_ONCE = 2
"""Pictures that a process works on side by side; libvips shares the cores among them."""


class ConsumingTransport(Transport, Protocol):
    """A transport that a process can also consume from."""

    def consume(self, queue: str, consumer: Consumer, *, concurrency: int) -> None:
        """Have `consumer` read `queue`."""
        ...

    async def dead_letters(self) -> Mapping[str, int]:
        """Count each queue's dead letters. Raises TransportDownError."""
        ...

    async def start(self) -> None:
        """Connect and begin to consume."""
        ...

    async def stop_consuming(self) -> None:
        """Take nothing more, and wait for what is being handled, within the grace period."""
        ...

    async def close(self) -> None:
        """Let go of the other side."""
        ...


class Runtime:
    """One process's parts, wired. Services attach to it; `run` starts it all and ends it so that nothing is lost."""

    def __init__(
        self, settings: Settings, transport: ConsumingTransport, *, public_url: str, service: str, readiness: Readiness
    ) -> None:
        logs.name_process(service)
        self.settings = settings
        self.transport = transport
        self.service = service
        self.readiness = readiness
        self.application = UploadsApplication(settings.database.database_url)
        self.relay = Relay(transport, lambda keys: self.commits.remove_published(keys))  # noqa: PLW0108 — made below
        self.commits = GroupCommit(
            self.application,
            on_committed=self._publish_committed,
            on_state=readiness.need("database"),
            on_written=_note_commit,
        )
        self.store = EventStore(self.application, self.commits)
        self.pool = AsyncConnectionPool(
            conninfo_with_timeouts(settings.database.database_url),
            open=False,
            min_size=1,
            max_size=4,
            timeout=READ_TIMEOUT,
            kwargs={"autocommit": True},
        )
        self._closing: list[Callable[[], Awaitable[None]]] = []
        self._public_url = public_url
        self._answers_for_health = False
        self._background: list[Callable[[], Awaitable[None]]] = []

    @cached_property
    def objects(self) -> ObjectStore:
        """The object store. Opened where it is asked for: a process without pictures has no credentials for it."""
        store = open_configured_store(self.settings.objects, public_base_url=self._public_url)
        if self._answers_for_health:
            self.readiness.watch("objects", store.ping, every=OBJECTS_EVERY)
        return store

    @cached_property
    def cpu(self) -> CpuPool:
        """The pool for image work. Made where it is asked for, so that a process without pictures loads no libvips."""
        from shared.imaging import limit_threads  # noqa: PLC0415 — for that reason

        limit_threads(max(1, (os.cpu_count() or 1) // PICTURES_AT_ONCE))
        return CpuPool(running=PICTURES_AT_ONCE, waiting=64)

    def attach_stage(self, stage: Stage, handler: Handler[Any], *, down_codes: frozenset[str] = frozenset()) -> None:
        """Have this process run a stage; failures with `down_codes` say that what the stage calls is down."""
        spec = SAGA[stage]
        breaker = CircuitBreaker(down_codes, on_state=partial(_note_breaker, spec.queue))
        _note_breaker(spec.queue, breaker.closed)
        self.attach_consumer(
            spec.queue, StageConsumer(stage, handler, self.store, breaker), concurrency=spec.concurrency
        )

    def attach_consumer(self, queue: str, consumer: Consumer, *, concurrency: int) -> None:
        """Have this process read a queue, `concurrency` messages at a time."""
        self.transport.consume(queue, MeasuredConsumer(queue, consumer), concurrency=concurrency)

    def attach_dispatcher(self) -> None:
        """Have this process sweep the outbox, and carry replays of many runs on."""
        sweep = OutboxSweep(self.pool)
        self.attach_background(Dispatcher(sweep, self.store, self.transport).run)
        self.attach_background(Backlog(sweep, self.transport.dead_letters).run)
        self.attach_background(ReplayRunner(ReplayLeases(self.pool), self.store, StreamReader(self.pool)).run)

    def attach_background(self, run: Callable[[], Awaitable[None]]) -> None:
        """Have something run from start to stop, such as a server; it is cancelled at the end."""
        self._background.append(run)

    def at_end(self, close: Callable[[], Awaitable[None]]) -> None:
        """Have something closed once nothing is under way any more."""
        self._closing.append(close)

    def attach_health(self) -> None:
        """Have this process look after what it needs, and answer for itself on HEALTH_PORT where that is set."""
        self.readiness.watch("database", self._ask_database, every=DATABASE_EVERY)
        self._answers_for_health = True
        self.attach_background(self.readiness.run)
        if self.settings.process.health_port:
            self.attach_background(self._answer_for_health)

    async def run(self, stop: asyncio.Event) -> None:
        """Run until `stop` is set, or until something in the background dies, which is raised."""
        end_traces = traces.start(self.settings.telemetry.otel_exporter_otlp_endpoint, self.service)
        loop = asyncio.get_running_loop()
        ASYNCIO_TASKS.set_function(lambda: len(asyncio.all_tasks(loop)))
        writing = self.commits.start()
        await self.pool.open()
        tasks = [asyncio.ensure_future(run()) for run in self._background]
        # In the background: a broker that is away must not keep a gateway from answering.
        connecting = asyncio.create_task(self.transport.start())
        stopped = asyncio.create_task(stop.wait())
        tasks.append(connecting)
        try:
            watched = {stopped, writing, *tasks}
            while not stopped.done():
                done, watched = await asyncio.wait(watched, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    task.result()
        finally:
            stopped.cancel()
            await self._end(tasks)
            end_traces()

    async def _end(self, tasks: Sequence[asyncio.Future[None]]) -> None:
        """Stop taking work, let what is under way finish and be written and sent, then let go of everything."""
        grace = self.settings.process.grace_period
        pending = set(tasks)
        while pending:
            for task in pending:  # Again where a library swallowed it on its way: see `shared.cancellation`.
                task.cancel()
            _, pending = await asyncio.wait(pending, timeout=grace / 2)
        await asyncio.gather(*tasks, return_exceptions=True)
        await self.transport.stop_consuming()
        await self.relay.drain(grace / 5)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.commits.close(), grace / 5)
        await self.transport.close()
        for close in self._closing:
            await close()
        if "objects" in vars(self):
            await self.objects.close()
        await self.store.close()
        await self.pool.close()
        if "cpu" in vars(self):
            self.cpu.close()
        self.application.close()

    def _publish_committed(self, rows: Sequence[OutboxRow]) -> None:
        self.relay.publish(rows)

    async def _ask_database(self) -> None:
        async with self.pool.connection() as conn:
            await conn.execute("SELECT 1")

    async def _answer_for_health(self) -> None:
        process = self.settings.process
        try:
            await HealthServer(self.readiness, process.host, process.health_port).run()
        except OSError as error:
            raise SettingsError([f"HEALTH_PORT={process.health_port}: {error.strerror}"]) from error


def _note_commit(appends: int, seconds: float) -> None:
    if appends:  # Not where outbox rows alone were settled, which nobody waits for.
        COMMIT_APPENDS.observe(appends)
        COMMIT_SECONDS.observe(seconds)


def _note_breaker(queue: str, closed: bool) -> None:  # noqa: FBT001 — the breaker's callback
    BREAKER_OPEN.labels(queue).set(not closed)


def rabbit_runtime(settings: Settings, *, public_url: str, service: str = "darkroom") -> Runtime:
    """Return a process that speaks to its fellows over RabbitMQ; `service` is its name in logs and traces."""
    readiness = Readiness()
    transport = RabbitTransport(
        settings.broker.amqp_url,
        grace=settings.process.grace_period,
        signing_key=settings.broker.message_signing_key,
        on_state=readiness.need("broker", quiet=True),
    )
    runtime = Runtime(settings, transport, public_url=public_url, service=service, readiness=readiness)
    runtime.attach_health()
    return runtime


def embedded_runtime(settings: Settings, *, public_url: str) -> Runtime:
    """Return a process that holds the whole saga; without a broker its own dispatcher is the clock."""
    transport = EmbeddedTransport(settings.process.grace_period)
    runtime = Runtime(settings, transport, public_url=public_url, service="darkroom", readiness=Readiness())
    runtime.attach_dispatcher()
    return runtime


def stop_on_signals(stop: asyncio.Event) -> None:
    """Set `stop` at SIGTERM or SIGINT."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
