"""The one place that names every concrete class: settings in, a running process's parts out."""

import asyncio
import contextlib
import signal
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, Protocol

import structlog
from psycopg_pool import AsyncConnectionPool

from contracts.events import Stage
from shared.eventstore.application import UploadsApplication
from shared.eventstore.conninfo import patient_conninfo
from shared.eventstore.group_commit import GroupCommit
from shared.eventstore.histories import Histories
from shared.eventstore.outbox import OutboxRow, OutboxSweep
from shared.eventstore.replay_work import ReplayWork
from shared.eventstore.store import EventStore
from shared.imaging.cpu import CpuPool
from shared.messaging.breaker import Breaker
from shared.messaging.dispatcher import Dispatcher
from shared.messaging.embedded import EmbeddedTransport
from shared.messaging.message import Consumer, Transport
from shared.messaging.rabbit import RabbitTransport
from shared.messaging.relay import Relay
from shared.messaging.stage import Handler, StageConsumer
from shared.replay.runner import ReplayRunner
from shared.settings import Settings
from shared.storage.open import open_object_store
from shared.storage.port import ObjectStore
from shared.upload.saga import SAGA

log = structlog.get_logger(__name__)

READ_TIMEOUT = 2.0
"""Seconds that a reader waits for a database connection."""


class BothWays(Transport, Protocol):
    """A transport that a process can also consume from."""

    def consume(self, queue: str, consumer: Consumer, *, concurrency: int) -> None:
        """Have `consumer` read `queue`."""
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

    def __init__(self, settings: Settings, transport: BothWays, *, public_url: str) -> None:
        self.settings = settings
        self.transport = transport
        self.application = UploadsApplication(settings.database.database_url)
        self.relay = Relay(transport, lambda keys: self.commits.settle(keys))  # noqa: PLW0108 — made below
        self.commits = GroupCommit(
            self.application, on_committed=self._hand_on, on_state=partial(self._note_state, "database")
        )
        self.store = EventStore(self.application, self.commits)
        self.pool = AsyncConnectionPool(
            patient_conninfo(settings.database.database_url),
            open=False,
            min_size=1,
            max_size=4,
            timeout=READ_TIMEOUT,
            kwargs={"autocommit": True},
        )
        self.objects: ObjectStore = open_object_store(
            settings.objects.object_store_url,
            public_base_url=public_url,
            s3_endpoint_url=settings.objects.s3_endpoint_url,
            s3_region=settings.objects.s3_region,
            s3_access_key_id=settings.objects.s3_access_key_id,
            s3_secret_access_key=settings.objects.s3_secret_access_key,
        )
        self.cpu = CpuPool(running=2, waiting=64)
        self._background: list[Callable[[], Awaitable[None]]] = []
        self._states: dict[str, bool] = {}

    def attach_stage(self, stage: Stage, handler: Handler[Any], *, down_codes: frozenset[str] = frozenset()) -> None:
        """Have this process run a stage; failures with `down_codes` say that what the stage calls is down."""
        breaker = Breaker(down_codes, on_state=partial(self._note_state, f"what {stage} calls"))
        consumer = StageConsumer(stage, handler, self.store, breaker)
        self.transport.consume(SAGA[stage].queue, consumer, concurrency=SAGA[stage].concurrency)

    def attach_dispatcher(self) -> None:
        """Have this process sweep the outbox, and carry replays of many runs on."""
        self.attach_background(Dispatcher(OutboxSweep(self.pool), self.store, self.transport).run)
        self.attach_background(ReplayRunner(ReplayWork(self.pool), self.store, Histories(self.pool)).run)

    def attach_background(self, run: Callable[[], Awaitable[None]]) -> None:
        """Have something run from start to stop, such as a server; it is cancelled at the end."""
        self._background.append(run)

    async def run(self, stop: asyncio.Event) -> None:
        """Run until `stop` is set, or until something in the background dies, which is raised."""
        self.commits.start()
        await self.pool.open()
        tasks = [asyncio.ensure_future(run()) for run in self._background]
        # In the background: a broker that is away must not keep a gateway from answering.
        connecting = asyncio.create_task(self.transport.start())
        stopped = asyncio.create_task(stop.wait())
        tasks.append(connecting)
        try:
            watched = {stopped, *tasks}
            while not stopped.done():
                done, watched = await asyncio.wait(watched, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    task.result()
        finally:
            stopped.cancel()
            await self._end(tasks)

    async def _end(self, tasks: Sequence[asyncio.Future[None]]) -> None:
        """Stop taking work, let what is under way finish and be written and sent, then let go of everything."""
        grace = self.settings.process.grace_period
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self.transport.stop_consuming()
        await self.relay.drain(grace / 5)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.commits.close(), grace / 5)
        await self.transport.close()
        await self.objects.close()
        await self.store.close()
        await self.pool.close()
        self.cpu.close()
        self.application.close()

    def _hand_on(self, rows: Sequence[OutboxRow]) -> None:
        self.relay.hand_on(rows)

    def _note_state(self, part: str, up: bool) -> None:
        """Say once when a part goes away, and once when it is back."""
        if self._states.get(part, True) is not up:
            log.info("back", part=part) if up else log.warning("away", part=part)
        self._states[part] = up


def rabbit_runtime(settings: Settings, *, public_url: str) -> Runtime:
    """Give a process that speaks to its fellows over RabbitMQ."""
    transport = RabbitTransport(settings.broker.amqp_url, grace=settings.process.grace_period)
    return Runtime(settings, transport, public_url=public_url)


def embedded_runtime(settings: Settings, *, public_url: str) -> Runtime:
    """Give a process that holds the whole saga; without a broker its own dispatcher is the clock."""
    runtime = Runtime(settings, EmbeddedTransport(settings.process.grace_period), public_url=public_url)
    runtime.attach_dispatcher()
    return runtime


def stop_on_signals(stop: asyncio.Event) -> None:
    """Set `stop` at SIGTERM or SIGINT."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
