"""Uploads that may be sent straight to the object store, remembered until they are registered or expire."""

import datetime as dt
from uuid import UUID

import msgspec
from psycopg.rows import class_row
from psycopg_pool import AsyncConnectionPool


class PendingUpload(msgspec.Struct, frozen=True, kw_only=True):
    """What was announced. The object is believed only if it is exactly this large and of this type."""

    id: UUID
    email: str
    session_token_digest: str
    content_type: str
    size_bytes: int
    expires_at: dt.datetime


_COLUMNS = ", ".join(PendingUpload.__struct_fields__)
_VALUES = ", ".join(f"%({name})s" for name in PendingUpload.__struct_fields__)
_INSERT = f"INSERT INTO pending_uploads ({_COLUMNS}) VALUES ({_VALUES})"  # noqa: S608 — own columns
_SELECT = f"SELECT {_COLUMNS} FROM pending_uploads"  # noqa: S608 — likewise
_EXPIRED = "SELECT id FROM pending_uploads WHERE expires_at < now() - %s ORDER BY expires_at"


class PendingUploads:
    """The table. Every method may raise psycopg.OperationalError or psycopg_pool.PoolTimeout."""

    def __init__(self, pool: AsyncConnectionPool) -> None:
        self._pool = pool

    async def add(self, pending: PendingUpload) -> None:
        """Remember an upload that was announced."""
        async with self._pool.connection() as conn:
            await conn.execute(_INSERT, msgspec.structs.asdict(pending))

    async def get(self, upload_id: UUID) -> PendingUpload | None:
        """Return what was announced, unless its time is over."""
        async with self._pool.connection() as conn, conn.cursor(row_factory=class_row(PendingUpload)) as curs:
            await curs.execute(f"{_SELECT} WHERE id = %s AND expires_at > now()", (upload_id,))
            return await curs.fetchone()

    async def expired(self, *, since: dt.timedelta, limit: int) -> list[UUID]:
        """Name uploads whose time has been over for `since`, the oldest first."""
        async with self._pool.connection() as conn:
            curs = await conn.execute(f"{_EXPIRED} LIMIT %s", (since, limit))
            return [row[0] for row in await curs.fetchall()]

    async def remove(self, upload_id: UUID) -> None:
        """Forget an upload: it is registered, or it never came."""
        async with self._pool.connection() as conn:
            await conn.execute("DELETE FROM pending_uploads WHERE id = %s", (upload_id,))
