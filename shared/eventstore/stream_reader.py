"""Streams past the library: many in one query for the replay of many runs, and the end of one for who follows it."""

from collections.abc import Sequence
from uuid import UUID

from psycopg_pool import AsyncConnectionPool

from contracts.events import Event, decode
from shared.upload.upload import Upload, evolve

_LATEST = """
SELECT state FROM upload_events WHERE notification_id > (SELECT max(notification_id) FROM upload_events) - %s
ORDER BY originator_id, originator_version
"""


class StreamReader:
    """Reads of the event table past the library. Every method may raise psycopg.Error or psycopg_pool.PoolTimeout."""

    def __init__(self, pool: AsyncConnectionPool) -> None:
        self._pool = pool

    async def uploads(self, upload_ids: Sequence[UUID]) -> dict[UUID, Upload]:
        """Fold many uploads; one that does not exist is not among them."""
        folded: dict[UUID, Upload] = {}
        async with self._pool.connection() as conn, conn.cursor(binary=True) as curs:
            await curs.execute(
                "SELECT state FROM upload_events WHERE originator_id = ANY(%b::uuid[])"
                " ORDER BY originator_id, originator_version",
                (list(upload_ids),),
            )
            async for (state,) in curs:
                event = decode(state)
                folded[event.upload_id] = evolve(folded.get(event.upload_id), event)
        return folded

    async def after(self, upload_id: UUID, version: int) -> list[Event]:
        """Return an upload's events beyond a version, oldest first."""
        async with self._pool.connection() as conn, conn.cursor(binary=True) as curs:
            await curs.execute(
                "SELECT state FROM upload_events WHERE originator_id = %b AND originator_version > %b::bigint"
                " ORDER BY originator_version",
                (upload_id, version),
                prepare=True,
            )
            return [decode(state) for (state,) in await curs.fetchall()]

    async def latest(self, limit: int) -> list[Event]:
        """Return about `limit` of the last events recorded, each upload's in order."""
        async with self._pool.connection() as conn, conn.cursor(binary=True) as curs:
            await curs.execute(_LATEST, (limit,))
            return [decode(state) for (state,) in await curs.fetchall()]
