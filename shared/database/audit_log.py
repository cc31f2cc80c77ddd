"""The audit log: a row for everything that operators did, written in the transaction of the act where it has one."""

import datetime as dt
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
from psycopg import AsyncConnection
from psycopg.rows import class_row
from psycopg.types.json import Jsonb
from psycopg_pool import AsyncConnectionPool

_INSERT = "INSERT INTO operator_actions (who, what, why, details) VALUES (%s, %s, %s, %s) RETURNING id"
_INSERT_DRAFT = (
    "INSERT INTO operator_actions (id, who, what, why, details) OVERRIDING SYSTEM VALUE VALUES (%s, %s, %s, %s, %s)"
)


class AuditDraft(msgspec.Struct, frozen=True, kw_only=True):
    """An entry that is written in the transaction of what it tells of, or not at all."""

    id: int
    who: str
    what: str
    why: str
    details: dict[str, Any]


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

    async def draft(self, *, who: str, what: str, why: str, details: Mapping[str, Any]) -> AuditDraft:
        """Return an entry for an append to take along: see `EventStore.append`."""
        async with self._pool.connection() as conn:
            curs = await conn.execute("SELECT nextval(pg_get_serial_sequence('operator_actions', 'id'))")
            row = await curs.fetchone()
        return AuditDraft(id=int(row[0]) if row else 0, who=who, what=what, why=why, details=dict(details))

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


def write_drafts(conn: Any, drafts: Iterable[AuditDraft]) -> None:
    """Write entries within the caller's transaction."""
    for draft in drafts:
        conn.execute(_INSERT_DRAFT, (draft.id, draft.who, draft.what, draft.why, Jsonb(draft.details)))
