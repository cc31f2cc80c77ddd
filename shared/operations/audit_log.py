"""The operators' log: a row for everything they did that is no event of an upload."""

import datetime as dt
from collections.abc import Mapping
from typing import Any

import msgspec
from psycopg import AsyncConnection
from psycopg.rows import class_row
from psycopg.types.json import Jsonb
from psycopg_pool import AsyncConnectionPool

_INSERT = "INSERT INTO operator_actions (who, what, why, details) VALUES (%s, %s, %s, %s) RETURNING id"


class AuditEntry(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Who did what, when and why."""

    id: int
    at: dt.datetime
    who: str
    what: str
    why: str
    details: dict[str, Any]


class AuditLog:
    """Appends to the log and reads it. Every method may raise psycopg.Error or psycopg_pool.PoolTimeout."""

    def __init__(self, pool: AsyncConnectionPool) -> None:
        self._pool = pool

    async def record(self, *, who: str, what: str, why: str, details: Mapping[str, Any]) -> int:
        """Record an action and return its id. An action outside this database is recorded before it is done."""
        async with self._pool.connection() as conn:
            return await note(conn, who=who, what=what, why=why, details=details)

    async def complete(self, action_id: int, outcome: Mapping[str, Any]) -> None:
        """Add to an action's details what came of it."""
        async with self._pool.connection() as conn:
            await conn.execute(
                "UPDATE operator_actions SET details = details || %s WHERE id = %s", (Jsonb(dict(outcome)), action_id)
            )

    async def latest(self, limit: int, *, before: int | None = None) -> list[AuditEntry]:
        """Return the last actions, the latest first; `before` is the id of the last one seen."""
        async with self._pool.connection() as conn, conn.cursor(row_factory=class_row(AuditEntry)) as curs:
            await curs.execute(
                "SELECT id, at, who, what, why, details FROM operator_actions"
                " WHERE (%(before)s::bigint IS NULL OR id < %(before)s) ORDER BY id DESC LIMIT %(limit)s",
                {"before": before, "limit": limit},
            )
            return await curs.fetchall()


async def note(conn: AsyncConnection[Any], *, who: str, what: str, why: str, details: Mapping[str, Any]) -> int:
    """Note an action within the caller's transaction and return its id."""
    row = await (await conn.execute(_INSERT, (who, what, why, Jsonb(dict(details))))).fetchone()
    return int(row[0]) if row else 0
