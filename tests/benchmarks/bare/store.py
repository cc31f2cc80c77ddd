"""The floor of an append: the same rows by plain statements over one connection, with nothing around them."""

import time
from collections.abc import Sequence
from uuid import UUID

import psycopg

from contracts.events import Event, ProcessingRequested, decode, encode
from shared.eventstore.outbox import rows_for

GROUP = 50
"""Appends in one transaction."""

_EVENTS = (
    "INSERT INTO upload_events (originator_id, originator_version, topic, state)"
    " SELECT * FROM unnest(%b::uuid[], %b::bigint[], %b::text[], %b::bytea[])"
)
_UPLOADS = (
    "UPDATE uploads SET version = c.version, workflow_run_id = c.run, updated_at = c.at, attempt = 1, progress = 5,"
    " status = 'processing', stage = 'validating'"
    " FROM unnest(%b::uuid[], %b::bigint[], %b::uuid[], %b::timestamptz[]) AS c (id, version, run, at)"
    " WHERE uploads.id = c.id"
)
_OUTBOX = (
    "INSERT INTO outbox (upload_id, version, target, available_at)"
    " SELECT * FROM unnest(%b::uuid[], %b::bigint[], %b::text[], %b::timestamptz[])"
)
_TAKE = """
DELETE FROM outbox o USING (
    SELECT ctid FROM outbox ORDER BY available_at LIMIT %b FOR UPDATE SKIP LOCKED
) AS due, upload_events e
WHERE o.ctid = due.ctid AND e.originator_id = o.upload_id AND e.originator_version = o.version
RETURNING o.target, e.state
"""
_STREAM = "SELECT state FROM upload_events WHERE originator_id = %b ORDER BY originator_version"
_PUT_OFF = (
    "UPDATE outbox SET available_at = now() + '1 hour'::interval WHERE (upload_id, version, target) = (%b, %b, 'watch')"
)


def events_only(url: str, events: Sequence[Event], group: int = GROUP) -> float:
    """Insert the event rows alone, `group` in a transaction; give rows a second."""
    groups = [_event_columns(part) for part in _cut(events, group)]
    with psycopg.connect(url, autocommit=True) as conn:
        began = time.perf_counter()
        for columns in groups:
            conn.execute(_EVENTS, columns, prepare=True)
        return len(events) / (time.perf_counter() - began)


def all_rows(url: str, events: Sequence[ProcessingRequested], group: int = GROUP) -> float:
    """Write event, `uploads` and `outbox` rows, `group` appends in a pipelined transaction; give appends a second."""
    work = []
    for part in _cut(events, group):
        rows = [(*row.key, row.available_at) for event in part for row in rows_for(event)]
        changed = [(event.upload_id, event.version, event.workflow_run_id, event.occurred_at) for event in part]
        work.append((_event_columns(part), _columns(changed), _columns(rows)))
    with psycopg.connect(url) as conn:
        began = time.perf_counter()
        for event_columns, changed_columns, outbox_columns in work:
            with conn.pipeline(), conn.transaction():
                conn.execute(_EVENTS, event_columns, prepare=True)
                conn.execute(_UPLOADS, changed_columns, prepare=True)
                conn.execute(_OUTBOX, outbox_columns, prepare=True)
        return len(events) / (time.perf_counter() - began)


def commit_latencies(url: str, events: Sequence[Event]) -> list[float]:
    """Insert event rows one a transaction; return the seconds of each."""
    taken = []
    with psycopg.connect(url, autocommit=True) as conn:
        for event in events:
            columns = _event_columns([event])
            began = time.perf_counter()
            conn.execute(_EVENTS, columns, prepare=True)
            taken.append(time.perf_counter() - began)
    return taken


def claims(url: str, number: int, group: int) -> float:
    """Take `number` rows out of the outbox, `group` in a transaction, with their events; give rows a second."""
    with psycopg.connect(url, autocommit=True) as conn:
        began, taken = time.perf_counter(), 0
        while taken < number:
            taken += len(conn.execute(_TAKE, (group,), prepare=True).fetchall())
        return number / (time.perf_counter() - began)


def watches(url: str, ids: Sequence[UUID], version: int) -> float:
    """Read each upload's stream, and update a row of the outbox in a transaction of its own; give looks a second."""
    with psycopg.connect(url, autocommit=True) as conn:
        conn.execute(
            "INSERT INTO outbox (upload_id, version, target, available_at)"
            " SELECT id, %s, 'watch', now() + '1 hour'::interval FROM unnest(%s::uuid[]) AS id",
            (version, list(ids)),
        )
        began = time.perf_counter()
        for upload_id in ids:
            for (state,) in conn.execute(_STREAM, (upload_id,), prepare=True).fetchall():
                decode(state)
            conn.execute(_PUT_OFF, (upload_id, version), prepare=True)
        looked = len(ids) / (time.perf_counter() - began)
        conn.execute("TRUNCATE outbox")
        return looked


def _event_columns(events):
    return _columns([(e.upload_id, e.version, type(e).__name__, encode(e)) for e in events])


def _columns(rows):
    return [list(column) for column in zip(*rows, strict=True)]


def _cut(items, size):
    return [items[at : at + size] for at in range(0, len(items), size)]
