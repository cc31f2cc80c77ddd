"""The floor of an append: the same rows by plain INSERTs over one connection, with nothing around them."""

import time
from collections.abc import Sequence

import psycopg

from contracts.events import Event, encode
from shared.eventstore.outbox import OutboxRow
from shared.eventstore.recorder import UPSERT
from shared.projection.uploads import COLUMNS, changes_of

GROUP = 50
"""Appends in one transaction."""

_EVENTS = (
    "INSERT INTO upload_events (originator_id, originator_version, topic, state)"
    " SELECT * FROM unnest(%b::uuid[], %b::bigint[], %b::text[], %b::bytea[])"
)
_OUTBOX = (
    "INSERT INTO outbox (upload_id, version, target, available_at)"
    " SELECT * FROM unnest(%b::uuid[], %b::bigint[], %b::text[], %b::timestamptz[])"
)


def events_only(url: str, events: Sequence[Event], group: int) -> float:
    """Insert the event rows alone, `group` in a transaction; give events a second."""
    groups = [_columns([(e.upload_id, e.version, type(e).__name__, encode(e)) for e in g]) for g in _cut(events, group)]
    with psycopg.connect(url, autocommit=True) as conn:
        conn.execute("SELECT 1")
        began = time.perf_counter()
        for columns in groups:
            conn.execute(_EVENTS, columns, prepare=True)
        return len(events) / (time.perf_counter() - began)


def all_rows(url: str, events: Sequence[Event], outbox: Sequence[Sequence[OutboxRow]], group: int) -> float:
    """Insert events, `uploads` and `outbox` rows, `group` appends in a pipelined transaction; give appends a second."""
    work = []
    for pairs in _cut(list(zip(events, outbox, strict=True)), group):
        changes = [changes_of([event]) for event, _ in pairs]
        rows = [row for _, rows in pairs for row in rows]
        work.append(
            (
                _columns([(e.upload_id, e.version, type(e).__name__, encode(e)) for e, _ in pairs]),
                [[getattr(change, column) for change in changes] for column in COLUMNS],
                _columns([(*row.key, row.available_at) for row in rows]),
            )
        )
    with psycopg.connect(url) as conn:
        began = time.perf_counter()
        for event_columns, changed, queued in work:
            with conn.pipeline(), conn.transaction():
                conn.execute(_EVENTS, event_columns, prepare=True)
                conn.execute(UPSERT, changed, prepare=True)
                conn.execute(_OUTBOX, queued, prepare=True)
        return len(events) / (time.perf_counter() - began)


def commit_latencies(url: str, events: Sequence[Event]) -> list[float]:
    """Insert event rows one a transaction; give the seconds of each."""
    taken = []
    with psycopg.connect(url, autocommit=True) as conn:
        for event in events:
            row = [[event.upload_id], [event.version], [type(event).__name__], [encode(event)]]
            began = time.perf_counter()
            conn.execute(_EVENTS, row, prepare=True)
            taken.append(time.perf_counter() - began)
    return taken


def _columns(rows):
    return [list(column) for column in zip(*rows, strict=True)]


def _cut(items, size):
    return [items[at : at + size] for at in range(0, len(items), size)]
