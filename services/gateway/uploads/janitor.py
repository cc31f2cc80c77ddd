"""Removes what nobody came back for: announced uploads that never came, and callers who have long been quiet."""

import asyncio
import datetime as dt
import random

import structlog
from psycopg import Error as DatabaseError
from psycopg_pool import PoolTimeout

from shared.database.rate_limits import RateLimits
from shared.eventstore.pending_uploads import PendingUploads
from shared.storage.keys import incoming_key
from shared.storage.port import ObjectStore, ObjectStoreError

log = structlog.get_logger(__name__)

EVERY = 60.0
"""Seconds between rounds, give or take a quarter."""
LATE = dt.timedelta(minutes=10)
"""How long after an announcement expired a write that began in time may still end."""
BATCH = 100


class Janitor:
    """Goes round for ever. Any number of gateways may have one: all it does can be done twice."""

    def __init__(self, pending: PendingUploads, counts: RateLimits, objects: ObjectStore) -> None:
        self._pending = pending
        self._counts = counts
        self._objects = objects

    async def run(self) -> None:
        """Go round until cancelled."""
        while True:
            await asyncio.sleep(EVERY * random.uniform(0.75, 1.25))
            try:
                await self.round()
            except (DatabaseError, PoolTimeout, ObjectStoreError) as error:
                log.warning("janitor_postponed", error=type(error).__name__)

    async def round(self, *, late: dt.timedelta = LATE) -> None:
        """Remove all that is due. The object goes before the row that leads to it."""
        await self._counts.forget()
        while expired := await self._pending.expired(since=late, limit=BATCH):
            for upload_id in expired:
                await self._objects.delete(incoming_key(upload_id))
                await self._pending.remove(upload_id)
