"""What waits: the outbox's overdue rows and the dead letters, looked at every few seconds and shown as metrics."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping

from psycopg import Error as DatabaseError
from psycopg_pool import PoolTimeout

from shared.cancellation import end_if_cancelled
from shared.eventstore.outbox import OutboxSweep
from shared.messaging.message import TransportDownError
from shared.observability.metrics import DEAD_LETTERS, OUTBOX_OLDEST, OUTBOX_OVERDUE

EVERY = 5.0
"""Seconds between looks."""

DeadLetters = Callable[[], Awaitable[Mapping[str, int]]]


class Backlog:
    """Looks for ever. What cannot be looked at keeps its figure; that it cannot is what `darkroom_up` says."""

    def __init__(self, sweep: OutboxSweep, dead_letters: DeadLetters) -> None:
        self._sweep = sweep
        self._dead_letters = dead_letters

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            end_if_cancelled()
            with contextlib.suppress(DatabaseError, PoolTimeout):
                rows, oldest = await self._sweep.depth()
                OUTBOX_OVERDUE.set(rows)
                OUTBOX_OLDEST.set(oldest)
            with contextlib.suppress(TransportDownError):
                for queue, count in (await self._dead_letters()).items():
                    DEAD_LETTERS.labels(queue).set(count)
            await asyncio.sleep(EVERY)
