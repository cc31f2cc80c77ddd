"""Rebuild `uploads` from the events into a new table, beside live traffic, and swap it in.

The notification ids of concurrent writers commit out of order, so the highest id that a scan sees is no safe mark. The
mark is taken under a lock that waits for writers in flight and holds new ones off for a moment: what was committed then
is in the scan, and every later event has a higher id.
"""

from collections.abc import Iterable, Iterator
from itertools import islice

import msgspec
import psycopg
from psycopg.sql import SQL, Composable, Identifier

from contracts.events import Event, decode
from shared.database import locks
from shared.projection.uploads import COLUMNS, RowChange, change_of, merge

FETCH = 5_000
"""Events in memory at a time."""

_SCAN = "SELECT state FROM upload_events WHERE notification_id <= %s ORDER BY originator_id, originator_version"
_LATE = (
    "SELECT state FROM upload_events WHERE originator_id IN"
    " (SELECT DISTINCT originator_id FROM upload_events WHERE notification_id > %s)"
    " ORDER BY originator_id, originator_version"
)


# LIKE … INCLUDING ALL leaves these out.
_OPTIONS_AND_RIGHTS = """
SELECT format('ALTER TABLE uploads_rebuilt SET (%s)', array_to_string(reloptions, ', '))
FROM pg_class WHERE oid = 'uploads'::regclass AND reloptions IS NOT NULL
UNION ALL
SELECT format(
    'GRANT %s ON uploads_rebuilt TO %s%s',
    privilege_type,
    coalesce(nullif(grantee, 0)::regrole::text, 'PUBLIC'),
    CASE WHEN is_grantable THEN ' WITH GRANT OPTION' END
)
FROM pg_class, aclexplode(relacl) WHERE pg_class.oid = 'uploads'::regclass
"""


class RebuildReport(msgspec.Struct, frozen=True):
    """What a rebuild did: uploads and events read, and how many live rows were not what the events say."""

    uploads: int
    events: int
    different: int


def rebuild(database_url: str) -> RebuildReport:
    """Rebuild and swap. Writers wait twice, for moments; readers never. Raises psycopg.Error, with nothing changed."""
    with psycopg.connect(database_url) as swap, psycopg.connect(database_url) as scan:
        _take_turn(swap)
        mark = _commit_safe_mark(swap, scan)
        _create(scan)
        counted = _Counted(_events(scan, _SCAN, mark))
        uploads = sum(_copy(scan, rows) for rows in _batches(_rows(counted)))
        # In the scan's own snapshot, so that traffic since then does not count as a difference.
        different = _difference(scan)
        scan.commit()
        with swap.transaction():
            swap.execute("LOCK TABLE uploads IN EXCLUSIVE MODE")
            late = list(_rows(_events(swap, _LATE, mark)))
            swap.execute("DELETE FROM uploads_rebuilt WHERE id = ANY(%s)", ([row.id for row in late],))
            _copy(swap, late)
            _swap(swap)
    return RebuildReport(uploads=uploads, events=counted.number, different=different)


class _Counted:
    """Counts what is taken from it."""

    def __init__(self, events: Iterable[Event]) -> None:
        self.number = 0
        self._events = events

    def __iter__(self) -> Iterator[Event]:
        for event in self._events:
            self.number += 1
            yield event


def _take_turn(conn: psycopg.Connection) -> None:
    """Wait for another rebuild to end. The lock goes with the connection, however this one ends."""
    conn.execute("SELECT pg_advisory_lock(%s)", (locks.REBUILD,))
    conn.commit()


def _create(conn: psycopg.Connection) -> None:
    """Create the new table as the old one is, and in the place of what a rebuild that was killed left behind."""
    conn.execute("DROP TABLE IF EXISTS uploads_rebuilt")
    conn.execute("CREATE TABLE uploads_rebuilt (LIKE uploads INCLUDING ALL)")
    for (statement,) in conn.execute(_OPTIONS_AND_RIGHTS).fetchall():
        conn.execute(statement.encode())


def _commit_safe_mark(lock: psycopg.Connection, scan: psycopg.Connection) -> int:
    """Return the mark, with `scan` left in a snapshot that holds exactly the events up to it."""
    with lock.transaction():
        lock.execute("LOCK TABLE upload_events IN SHARE MODE")
        scan.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        row = scan.execute("SELECT coalesce(max(notification_id), 0) FROM upload_events").fetchone()
    return int(row[0]) if row else 0


def _events(conn: psycopg.Connection, query: str, mark: int) -> Iterator[Event]:
    with conn.cursor(name="rebuild", binary=True) as curs:
        curs.itersize = FETCH
        curs.execute(query, (mark,))
        for (state,) in curs:
            yield decode(state)


def _rows(events: Iterable[Event]) -> Iterator[RowChange]:
    """Fold events, in stream order, into one row an upload."""
    row: RowChange | None = None
    for event in events:
        change = change_of(event)
        if row is not None and row.id == change.id:
            merge(row, change)
            continue
        if row is not None:
            yield row
        row = change
    if row is not None:
        yield row


def _batches(rows: Iterator[RowChange]) -> Iterator[list[RowChange]]:
    """Cut rows into lists: one connection cannot read a cursor while it copies."""
    while batch := list(islice(rows, FETCH)):
        yield batch


def _copy(conn: psycopg.Connection, rows: Iterable[RowChange]) -> int:
    number = 0
    with conn.cursor() as curs, curs.copy(SQL("COPY uploads_rebuilt ({}) FROM STDIN").format(_columns())) as copy:
        for row in rows:
            copy.write_row(msgspec.structs.astuple(row))
            number += 1
    return number


def _difference(scan: psycopg.Connection) -> int:
    """Count uploads whose live row is not what the events say."""
    row = scan.execute(
        SQL(
            "SELECT count(DISTINCT id) FROM ("
            " (SELECT {c} FROM uploads_rebuilt EXCEPT SELECT {c} FROM uploads) UNION ALL"
            " (SELECT {c} FROM uploads EXCEPT SELECT {c} FROM uploads_rebuilt)) AS d"
        ).format(c=_columns())
    ).fetchone()
    return int(row[0]) if row else 0


def _swap(conn: psycopg.Connection) -> None:
    """Put the rebuilt table in the live one's place, and return its indexes their usual names."""
    conn.execute("DROP TABLE uploads")
    conn.execute("ALTER TABLE uploads_rebuilt RENAME TO uploads")
    names = conn.execute(
        "SELECT indexname FROM pg_indexes WHERE tablename = 'uploads' AND schemaname = current_schema()"
    )
    for (name,) in names.fetchall():
        usual = Identifier(name.replace("uploads_rebuilt_", "uploads_"))
        conn.execute(SQL("ALTER INDEX {} RENAME TO {}").format(Identifier(name), usual))


def _columns() -> Composable:
    return SQL(", ").join(map(Identifier, COLUMNS))
