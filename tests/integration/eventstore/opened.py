"""One process's way to the event store, as bootstrap wires it, for tests that look inside."""

import contextlib
from collections.abc import AsyncIterator

import psycopg
from psycopg_pool import AsyncConnectionPool

from contracts.events import Event, decode
from shared.eventstore.application import UploadsApplication
from shared.eventstore.group_commit import GroupCommit
from shared.eventstore.outbox import OutboxRow, OutboxSweep, rows_for
from shared.eventstore.store import EventStore


class Opened:
    """The parts, and what was handed on after commits."""

    def __init__(self, database_url: str, max_group: int = 256) -> None:
        self.url = database_url
        self.handed_on: list[OutboxRow] = []
        self.states: list[bool] = []
        self.application = UploadsApplication(database_url)
        self.commits = GroupCommit(
            self.application,
            on_committed=self.handed_on.extend,
            on_state=self.states.append,
            max_group=max_group,
        )
        self.store = EventStore(self.application, self.commits)
        self.pool = AsyncConnectionPool(database_url, open=False, min_size=1, max_size=4, kwargs={"autocommit": True})
        self.sweep = OutboxSweep(self.pool)

    async def append(self, *events: Event, wait: float | None = 30) -> None:
        await self.commits.append(events, [row for event in events for row in rows_for(event)], wait=wait)


@contextlib.asynccontextmanager
async def opened(database_url: str, max_group: int = 256) -> AsyncIterator[Opened]:
    """Return the parts, running."""
    parts = Opened(database_url, max_group)
    await parts.pool.open()
    parts.commits.start()
    try:
        yield parts
    finally:
        await parts.commits.close()
        await parts.store.close()
        await parts.pool.close()
        parts.application.close()


def stored(database_url: str) -> list[Event]:
    """Read every event, each upload's in order."""
    query = "SELECT state FROM upload_events ORDER BY originator_id, originator_version"
    return [decode(bytes(state)) for (state,) in asked(database_url, query)]


def asked(database_url: str, query: str, *values: object) -> list[tuple[object, ...]]:
    """Run a query on a connection of its own and return its rows."""
    with psycopg.connect(database_url) as conn:
        curs = conn.execute(query, values or None)
        return curs.fetchall() if curs.description else []


def counted(database_url: str) -> dict[str, int]:
    """Count the rows of the three tables that a commit writes."""
    tables = ("upload_events", "uploads", "outbox")
    query = "SELECT " + ", ".join(f"(SELECT count(*) FROM {table})" for table in tables)  # noqa: S608 — own names
    return dict(zip(tables, asked(database_url, query)[0], strict=True))
