"""The dispatcher: publishes what a crash left in the outbox and what falls due, and has runs under way checked."""

import asyncio
import contextlib
import datetime as dt

import structlog
from psycopg import Error as DatabaseError
from psycopg_pool import PoolTimeout

from shared.cancellation import end_if_cancelled
from shared.clock import utc_now
from shared.eventstore.outbox import RUN_CHECK, OutboxRow, OutboxSweep, RowKey
from shared.eventstore.store import EventStore
from shared.jitter import jittered_sleep
from shared.messaging.message import Transport, TransportDownError, UnroutableError
from shared.observability import logs
from shared.observability.metrics import SWEPT_AT, SendCounts
from shared.stages.run_watchdog import RunWatchdog

log = structlog.get_logger(__name__)

POLL = 0.25
"""Seconds between looks at an outbox that had nothing due."""
BATCH = 100
"""Rows claimed at once."""
MAX_IN_FLIGHT = 1000
"""Rows on their way from which on no more are claimed before those are done, or it is time for the next look."""
SEND_RETRY_DELAY = dt.timedelta(seconds=2)
"""When a row is due again that could not be published."""
AWAY_MAX = 5.0
"""Longest pause, in seconds, between looks while the database is away."""


class Dispatcher:
    """Sweeps the outbox for ever. Any number of them may run: a row is claimed by one at a time."""

    def __init__(self, sweep: OutboxSweep, store: EventStore, transport: Transport) -> None:
        self._sweep = sweep
        self._transport = transport
        self._watchdog = RunWatchdog(store, transport)
        self._under_way: set[asyncio.Task[None]] = set()
        self._done: list[RowKey] = []
        self._removing = asyncio.Lock()
        self._counts = SendCounts("dispatcher")

    async def run(self) -> None:
        """Sweep until cancelled."""
        pause = POLL
        while True:
            end_if_cancelled()
            try:
                claimed = await self.sweep_once()
                SWEPT_AT.set_to_current_time()
                pause = POLL
            except (DatabaseError, PoolTimeout) as error:
                if pause == POLL:
                    log.warning("outbox_unreadable", error=type(error).__name__)
                claimed, pause = 0, min(pause * 2, AWAY_MAX)
            if claimed < BATCH:
                await jittered_sleep(pause)
            elif len(self._under_way) >= MAX_IN_FLIGHT:
                await asyncio.wait(self._under_way, timeout=POLL)

    async def sweep_once(self) -> int:
        """Claim what is due and set it on its way; return the number of rows claimed."""
        rows = await self._sweep.claim(BATCH, only_run_checks=not self._transport.up)
        for row in rows:
            task = asyncio.create_task(self._dispatch(row))
            self._under_way.add(task)
            task.add_done_callback(self._under_way.discard)
        return len(rows)

    async def _dispatch(self, row: OutboxRow) -> None:
        """Publish a row and remove it. One that cannot be published now is due again soon."""
        logs.about(row.event)
        try:
            if row.target == RUN_CHECK:
                await self._check(row)
            else:
                await self._transport.send(row)
                self._counts.sent.inc()
                await self._remove_published(row.key)
        except TransportDownError:
            self._counts.away.inc()
            await self._postpone(row)
        except UnroutableError as error:
            log.error("event_unroutable", message_id=row.event.message_id, error=str(error))  # noqa: TRY400 — says it all
            self._counts.unroutable.inc()
        except (DatabaseError, PoolTimeout):
            return
        except Exception:
            log.exception("dispatch_failed", message_id=row.event.message_id, target=row.target)
            self._counts.error.inc()

    async def _remove_published(self, key: RowKey) -> None:
        """Remove a row, and in the same transaction all others that were done with while the one before ran."""
        done = self._done
        done.append(key)
        async with self._removing:
            if done is self._done:
                self._done = []
                await self._sweep.remove_published(done)

    async def _postpone(self, row: OutboxRow) -> None:
        """Have a row due again soon; where the database is away too, its claim runs out by itself."""
        with contextlib.suppress(DatabaseError, PoolTimeout):
            await self._sweep.postpone(row.key, utc_now() + SEND_RETRY_DELAY)

    async def _check(self, row: OutboxRow) -> None:
        """Have a run checked, and say when again; nobody needs to once it has ended."""
        again_at = await self._watchdog.check(row)
        if again_at is None:
            await self._remove_published(row.key)
        else:
            await self._sweep.postpone(row.key, again_at)
