"""How long each upload has been kept, by the database's clock: what a retention looks at, whoever works it."""

import datetime as dt
from uuid import UUID

from psycopg_pool import AsyncConnectionPool

LEASE = dt.timedelta(minutes=5)
"""How long whoever claimed an upload has, before another may look at it; a run under way is looked at again then."""

_CLAIM = """
WITH due AS (
    SELECT upload_id FROM kept_uploads WHERE since < now() - %(age)s AND look_at <= now() {unstarted}
    ORDER BY since LIMIT %(limit)s FOR UPDATE SKIP LOCKED
)
UPDATE kept_uploads AS k SET look_at = now() + %(lease)s FROM due WHERE k.upload_id = due.upload_id
RETURNING k.upload_id
"""
_CLAIM_UNSTARTED = _CLAIM.format(unstarted="AND NOT started")
_CLAIM_ANY = _CLAIM.format(unstarted="")


class KeptUploads:
    """The table. Every method may raise psycopg.OperationalError or psycopg_pool.PoolTimeout."""

    def __init__(self, pool: AsyncConnectionPool) -> None:
        self._pool = pool

    async def claim(self, age: dt.timedelta, limit: int, *, unstarted: bool) -> list[UUID]:
        """Claim uploads older than `age`, the oldest first; with `unstarted`, those that are not known to be started.

        What others hold is left to them.
        """
        query = _CLAIM_UNSTARTED if unstarted else _CLAIM_ANY
        async with self._pool.connection() as conn:
            curs = await conn.execute(query, {"age": age, "limit": limit, "lease": LEASE})
            return [row[0] for row in await curs.fetchall()]

    async def note_started(self, upload_id: UUID) -> None:
        """Note that an upload was started."""
        async with self._pool.connection() as conn:
            await conn.execute("UPDATE kept_uploads SET started = true WHERE upload_id = %s", (upload_id,))

    async def remove(self, upload_id: UUID) -> None:
        """Forget an upload that is not kept any more."""
        async with self._pool.connection() as conn:
            await conn.execute("DELETE FROM kept_uploads WHERE upload_id = %s", (upload_id,))
