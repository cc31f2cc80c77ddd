"""Ends what nobody comes back for: announcements, uploads whose time is over, their objects, callers gone quiet."""

from collections.abc import Awaitable, Callable, Mapping

import structlog
from psycopg import Error as DatabaseError
from psycopg_pool import PoolTimeout

from shared.bootstrap import Runtime
from shared.database.rate_limits import RateLimits
from shared.eventstore.group_commit import StoreUnavailableError
from shared.eventstore.object_cleanups import ObjectCleanups
from shared.eventstore.pending_uploads import PendingUploads
from shared.eventstore.stream_reader import StreamReader
from shared.jitter import jittered_sleep
from shared.operations.kept_uploads import KeptUploads
from shared.operations.object_cleanup import ObjectCleaner
from shared.operations.retention import Retention, rules_of
from shared.storage.port import ObjectStoreError

log = structlog.get_logger(__name__)

EVERY = 60.0
"""Seconds between rounds, give or take a quarter."""
BATCH = 100
"""Rows that one transaction removes."""

Chore = Callable[[], Awaitable[None]]


class Janitor:
    """Goes round its chores for ever. Any number of gateways may have one: all they do can be done twice."""

    def __init__(self, chores: Mapping[str, Chore]) -> None:
        self._chores = chores

    async def run(self) -> None:
        """Go round until cancelled."""
        while True:
            await jittered_sleep(EVERY)
            await self.round()

    async def round(self) -> None:
        """Do each chore once. One that cannot be done now does not keep the others from it."""
        for name, chore in self._chores.items():
            try:
                await chore()
            except (DatabaseError, PoolTimeout, ObjectStoreError, StoreUnavailableError) as error:
                log.warning("janitor_postponed", chore=name, error=type(error).__name__)


def janitor_of(runtime: Runtime) -> Janitor:
    """Return the janitor over a process's parts."""
    pool = runtime.pool
    announced = PendingUploads(pool)
    cleaner = ObjectCleaner(ObjectCleanups(pool), StreamReader(pool), runtime.objects)

    async def expire() -> None:
        while await announced.expire(BATCH):
            pass

    days = runtime.settings.retention
    retention = Retention(
        KeptUploads(pool), runtime.store, rules_of(days.retention_unstarted_days, days.retention_days)
    )
    return Janitor(
        {
            "callers": RateLimits(pool).forget,
            "announcements": expire,
            "retention": retention.round,
            "objects": cleaner.round,
        }
    )
