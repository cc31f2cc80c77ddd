"""Uploads that are announced and may be registered: remembered until they are, or expire, or are withdrawn.

A row that goes leaves one in `object_cleanups` wherever objects may be left, in the same statement. Its absence is what
keeps an upload from being registered later on: see `UploadRecorder`.
"""

import datetime as dt
from uuid import UUID

import msgspec
from psycopg.rows import class_row
from psycopg_pool import AsyncConnectionPool

from shared.database.audit_log import note
from shared.eventstore.object_cleanups import LATE


class PendingUpload(msgspec.Struct, frozen=True, kw_only=True):
    """What was announced. The object is believed only if it is exactly this large and of this type.

    `refusal_code` and `refusal_message` say why it was refused, if it was: that holds for good.
    """

    id: UUID
    email: str
    session_token_digest: str
    content_type: str
    size_bytes: int
    expires_at: dt.datetime
    refusal_code: str | None = None
    refusal_message: str | None = None


_COLUMNS = ", ".join(PendingUpload.__struct_fields__)
_VALUES = ", ".join(f"%({name})s" for name in PendingUpload.__struct_fields__)
_INSERT = f"INSERT INTO pending_uploads ({_COLUMNS}) VALUES ({_VALUES}) ON CONFLICT DO NOTHING"  # noqa: S608 — own columns
_SELECT = f"SELECT {_COLUMNS} FROM pending_uploads"  # noqa: S608 — likewise
_EXPIRE = """
WITH expired AS (
    SELECT id FROM pending_uploads WHERE expires_at < now() - %(late)s ORDER BY expires_at LIMIT %(limit)s
    FOR UPDATE SKIP LOCKED
), gone AS (
    DELETE FROM pending_uploads USING expired WHERE pending_uploads.id = expired.id RETURNING pending_uploads.id
)
INSERT INTO object_cleanups (upload_id, due_at, until) SELECT id, now(), now() FROM gone ON CONFLICT DO NOTHING
"""
_WITHDRAW = """
WITH gone AS (DELETE FROM pending_uploads WHERE id = %(id)s RETURNING id, expires_at)
INSERT INTO object_cleanups AS c (upload_id, due_at, until)
SELECT id, now(), greatest(now(), expires_at) + %(late)s FROM gone
ON CONFLICT (upload_id) DO UPDATE SET due_at = excluded.due_at, until = greatest(c.until, excluded.until)
"""
_CLAIM = """
UPDATE pending_uploads SET completing_until = clock_timestamp() + %s
WHERE id = %s AND refusal_code IS NULL AND (completing_until IS NULL OR completing_until < clock_timestamp())
RETURNING completing_until
"""


class PendingUploads:
    """The table. Every method may raise psycopg.OperationalError or psycopg_pool.PoolTimeout."""

    def __init__(self, pool: AsyncConnectionPool) -> None:
        self._pool = pool

    async def add(self, pending: PendingUpload) -> None:
        """Remember an upload that was announced."""
        async with self._pool.connection() as conn:
            await conn.execute(_INSERT, msgspec.structs.asdict(pending))

    async def add_unnamed(self, upload_id: UUID, *, lifetime: dt.timedelta) -> None:
        """Remember an upload whose photo comes through the gateway; nothing of the person is needed for that."""
        async with self._pool.connection() as conn:
            await conn.execute(
                "INSERT INTO pending_uploads (id, expires_at) VALUES (%s, now() + %s) ON CONFLICT DO NOTHING",
                (upload_id, lifetime),
            )

    async def get(self, upload_id: UUID) -> PendingUpload | None:
        """Return what was announced, unless its time is over."""
        query = f"{_SELECT} WHERE id = %s AND email IS NOT NULL AND expires_at > now()"
        async with self._pool.connection() as conn, conn.cursor(row_factory=class_row(PendingUpload)) as curs:
            await curs.execute(query, (upload_id,))
            return await curs.fetchone()

    async def claim(self, upload_id: UUID, lease: dt.timedelta) -> dt.datetime | None:
        """Take the completion of an upload for as long as the lease, at most; None where somebody else has it.

        Return what `release` wants to see.
        """
        async with self._pool.connection() as conn:
            row = await (await conn.execute(_CLAIM, (lease, upload_id))).fetchone()
            return row[0] if row else None

    async def release(self, upload_id: UUID, claim: dt.datetime) -> None:
        """Let somebody else complete the upload. A claim that has lapsed and was taken by another stays theirs."""
        async with self._pool.connection() as conn:
            await conn.execute(
                "UPDATE pending_uploads SET completing_until = NULL WHERE id = %s AND completing_until = %s",
                (upload_id, claim),
            )

    async def refuse(self, upload_id: UUID, code: str, message: str) -> None:
        """Remember that what was sent was refused, and why."""
        async with self._pool.connection() as conn:
            await conn.execute(
                "UPDATE pending_uploads SET refusal_code = %s, refusal_message = %s WHERE id = %s",
                (code, message, upload_id),
            )

    async def expire(self, limit: int, *, late: dt.timedelta = LATE) -> int:
        """Forget uploads whose time has been over for `late`, the oldest first; return how many."""
        async with self._pool.connection() as conn:
            return (await conn.execute(_EXPIRE, {"late": late, "limit": limit})).rowcount

    async def withdraw(self, upload_id: UUID, *, who: str, why: str) -> int | None:
        """Forget an announced upload and note who asked for it; return the note's id, None where there is none.

        Waits for a registration under way to end; after it, the upload cannot be registered any more.
        """
        async with self._pool.connection() as conn, conn.transaction():
            if not (await conn.execute(_WITHDRAW, {"id": upload_id, "late": LATE})).rowcount:
                return None
            return await note(conn, who=who, what="erase", why=why, details={"uploadId": str(upload_id)})
