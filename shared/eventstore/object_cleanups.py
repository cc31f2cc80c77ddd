"""Uploads whose objects may have to be removed: a row until the object store has confirmed, whoever dies in between."""

import datetime as dt
from uuid import UUID

import msgspec
from psycopg.rows import class_row
from psycopg_pool import AsyncConnectionPool

LATE = dt.timedelta(minutes=10)
"""How long after its right to write has ended somebody may still write: a client's URL or a stage's time-out."""
LEASE = dt.timedelta(minutes=2)
"""How long whoever claimed a row has, before another may take it up."""
RETRY = dt.timedelta(minutes=5)
"""When a row is due again whose objects could not be removed."""


class ObjectCleanup(msgspec.Struct, frozen=True, kw_only=True):
    """A claimed row. `due_at` proves the claim; `last` says that nobody may write any more."""

    upload_id: UUID
    due_at: dt.datetime
    last: bool


_CLAIM = """
WITH due AS (
    SELECT upload_id FROM object_cleanups WHERE due_at <= now() ORDER BY due_at LIMIT %(limit)s FOR UPDATE SKIP LOCKED
)
UPDATE object_cleanups AS c SET due_at = now() + %(lease)s FROM due WHERE c.upload_id = due.upload_id
RETURNING c.upload_id, c.due_at, c.until <= now() AS last
"""
_CLAIM_ONE = """
INSERT INTO object_cleanups AS c (upload_id, due_at, until)
VALUES (%(upload_id)s, now() + %(lease)s, now() + %(late)s)
ON CONFLICT (upload_id) DO UPDATE SET due_at = excluded.due_at
RETURNING upload_id, due_at, until <= now() AS last
"""
# Where the row was made due anew since it was claimed, its `due_at` is another one, and it stays as it is.
_CLAIMED = "WHERE upload_id = %(upload_id)s AND due_at = %(due_at)s"
_FINISH = f"DELETE FROM object_cleanups {_CLAIMED} AND %(last)s"  # noqa: S608 — own text
_LOOK_AGAIN = f"UPDATE object_cleanups SET due_at = until {_CLAIMED} AND NOT %(last)s"  # noqa: S608 — likewise
_PUT_OFF = f"UPDATE object_cleanups SET due_at = now() + %(retry)s {_CLAIMED}"  # noqa: S608 — likewise


class ObjectCleanups:
    """The table. Every method may raise psycopg.OperationalError or psycopg_pool.PoolTimeout."""

    def __init__(self, pool: AsyncConnectionPool) -> None:
        self._pool = pool

    async def claim(self, limit: int) -> list[ObjectCleanup]:
        """Claim rows that are due, the longest due first; what others hold is left to them."""
        async with self._pool.connection() as conn, conn.cursor(row_factory=class_row(ObjectCleanup)) as curs:
            await curs.execute(_CLAIM, {"limit": limit, "lease": LEASE})
            return await curs.fetchall()

    async def claim_one(self, upload_id: UUID) -> ObjectCleanup:
        """Claim an upload's row, due or not; write it where there is none."""
        values = {"upload_id": upload_id, "lease": LEASE, "late": LATE}
        async with self._pool.connection() as conn, conn.cursor(row_factory=class_row(ObjectCleanup)) as curs:
            await curs.execute(_CLAIM_ONE, values)
            [row] = await curs.fetchall()
            return row

    async def knows(self, upload_id: UUID) -> bool:
        """Return whether there is a row for an upload."""
        async with self._pool.connection() as conn:
            curs = await conn.execute("SELECT 1 FROM object_cleanups WHERE upload_id = %s", (upload_id,))
            return await curs.fetchone() is not None

    async def finish(self, cleanup: ObjectCleanup) -> None:
        """Note that the objects are gone: the row goes, or is due once more when nobody may write any more."""
        values = msgspec.structs.asdict(cleanup)
        async with self._pool.connection() as conn:
            await conn.execute(_FINISH if cleanup.last else _LOOK_AGAIN, values)

    async def put_off(self, cleanup: ObjectCleanup) -> None:
        """Have the row due again later: its objects could not be removed."""
        async with self._pool.connection() as conn:
            await conn.execute(_PUT_OFF, msgspec.structs.asdict(cleanup) | {"retry": RETRY})
