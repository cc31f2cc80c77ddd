"""The eventsourcing recorder that writes events, read model and outbox in one statement, and so in one transaction."""

import datetime as dt
import functools
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from typing import Any
from uuid import UUID

import msgspec
from eventsourcing.persistence import StoredEvent
from eventsourcing.postgres import PostgresApplicationRecorder

from contracts.events import UploadErased, UploadRegistered
from shared.database.audit_log import AuditDraft, write_drafts
from shared.eventstore.outbox import OutboxRow, RowKey
from shared.eventstore.personal_data import forget, take_announcements
from shared.projection.uploads import COLUMNS, STATED, RowChange
from shared.read_model.notifications import CHANNEL, pack

_TYPES = {
    "id": "uuid",
    "workflow_run_id": "uuid",
    "result_id": "uuid",
    "progress": "smallint",
    "attempt": "integer",
    "preview_width": "integer",
    "preview_height": "integer",
    "error_retryable": "boolean",
    "version": "bigint",
    "created_at": "timestamptz",
    "updated_at": "timestamptz",
}


def _assignment(column: str) -> str:
    """Return what `merge` in the projection does, in SQL."""
    if column == "progress":
        return "progress = greatest(u.progress, excluded.progress)"
    if column in STATED:
        return f"{column} = excluded.{column}"
    return f"{column} = coalesce(excluded.{column}, u.{column})"


_NAMES = ", ".join(COLUMNS)
_TYPED = ", ".join(f"{column} {_TYPES.get(column, 'text')}" for column in COLUMNS)
_ASSIGNMENTS = ", ".join(_assignment(column) for column in COLUMNS if column != "id")

# Rows come as JSON, which psycopg passes through as text: binding each column as an array cost a millisecond of Python
# a group. Events and uploads are in upload order, so that two processes' groups, which lock in that order, cannot
# deadlock. Outbox rows that somebody else holds are left to them, for the same reason: the worst that one left behind
# can do is to be published twice. LATERAL has them looked up one by one: a join would read the whole table.
_ROWS = f"""rows AS (
    INSERT INTO uploads AS u ({_NAMES})
    SELECT {_NAMES} FROM json_to_recordset(%(changes)b::json) AS r ({_TYPED}) ORDER BY id
    ON CONFLICT (id) DO UPDATE SET {_ASSIGNMENTS}
)"""  # noqa: S608 — the names are our own
_DUE = """due AS (
    INSERT INTO outbox (upload_id, version, target, available_at, causation_id, traceparent)
    SELECT * FROM json_to_recordset(%(outbox)b::json) AS r (
        upload_id uuid, version bigint, target text, available_at timestamptz, causation_id text, traceparent text
    )
    ON CONFLICT DO NOTHING
)"""
_REMOVE_PUBLISHED = """published AS (
    DELETE FROM outbox USING (
        SELECT o.ctid FROM json_to_recordset(%(published)b::json) AS k (upload_id uuid, version bigint, target text)
        CROSS JOIN LATERAL (
            SELECT ctid FROM outbox WHERE (upload_id, version, target) = (k.upload_id, k.version, k.target)
            FOR UPDATE SKIP LOCKED
        ) AS o
    ) AS held WHERE outbox.ctid = held.ctid
)"""
_END_RUN_CHECKS = """unwatched AS (
    DELETE FROM outbox WHERE upload_id = ANY (%(ended)b::uuid[]) AND target = 'watch'
)"""
_KEPT = """kept AS (
    INSERT INTO kept_uploads (upload_id) SELECT unnest(%(registered)b::uuid[]) ON CONFLICT DO NOTHING
)"""
_EVENTS = """
INSERT INTO upload_events (originator_id, originator_version, topic, state)
SELECT id, version, topic, convert_to(state, 'UTF8')
FROM json_to_recordset(%(events)b::json) AS r (id uuid, version bigint, topic text, state text)
"""


@functools.cache
def _write(*, removes: bool, ends: bool, registers: bool) -> str:
    """Return the statement, without the parts that have nothing to do: each costs a twentieth of a millisecond."""
    optional = ((_REMOVE_PUBLISHED, removes), (_END_RUN_CHECKS, ends), (_KEPT, registers))
    parts = [_ROWS, _DUE, *(part for part, wanted in optional if wanted)]
    return f"WITH {', '.join(parts)} {_EVENTS}"


# The one change ever made to stored events: they name a person who asked to be forgotten, or tell their photo by its
# digest. In the same transaction as UploadErased, so that a rebuild at any time gives the rows that are there.
_REDACT = """
UPDATE upload_events SET state = convert_to((convert_from(state, 'UTF8')::jsonb || CASE topic
    WHEN 'UploadRegistered' THEN '{"email": "", "session_token_digest": ""}'::jsonb
    ELSE '{"sha256": ""}'::jsonb
END)::text, 'UTF8')
WHERE originator_id = ANY (%b::uuid[]) AND topic IN ('UploadRegistered', 'ImageValidated')
"""

_ANNOUNCE = """
SELECT set_config('synchronous_commit', 'off', true), pg_notify(%b, payload) FROM unnest(%b::text[]) AS payload
"""

_encoder = msgspec.json.Encoder()


def _json(rows: Sequence[object]) -> str:
    return _encoder.encode(rows).decode()


class NoLongerWantedError(Exception):
    """Somebody gave up while a connection was waited for. Nothing was written."""


class UploadRecorder(PostgresApplicationRecorder):
    """Writes events, `uploads` rows and outbox rows in one transaction, or none of them.

    The library's own table lock and NOTIFY are left out: the lock would let only one process append at a time, and is
    needed only by readers who follow the notification log as it grows. Nobody here does (see ARCHITECTURE.md):
    delivery goes by the outbox. Left out too are its ten blind retries: after a lost connection nobody knows whether
    the transaction was committed, and only the group commit can tell its own rows from a rival's.
    """

    def insert_events(  # noqa: PLR0913 — all that one transaction writes
        self,
        stored_events: Sequence[StoredEvent],
        *,
        changes: Sequence[RowChange] = (),
        outbox: Sequence[OutboxRow] = (),
        ended: Sequence[UUID] = (),
        published: Sequence[RowKey] = (),
        announced: Sequence[UUID] = (),
        audit: Sequence[AuditDraft] = (),
        still_wanted: Callable[[], bool] = lambda: True,
        **_: Any,
    ) -> Sequence[int] | None:
        """Write it all. Raises IntegrityError where one of the versions is taken, with nothing written.

        Raises NoLongerWantedError, with nothing written either, where `still_wanted` says so once a connection is
        there: while the database is away, the pool waits longer for one than some callers do. Raises NotAnnouncedError
        likewise where an upload of `announced` has no announcement any more.
        """
        events = [
            {"id": e.originator_id, "version": e.originator_version, "topic": e.topic, "state": e.state.decode()}
            for e in stored_events
        ]
        keys = [{"upload_id": key[0], "version": key[1], "target": key[2]} for key in published]
        erased = [e.originator_id for e in stored_events if e.topic == UploadErased.__name__]
        registered = [e.originator_id for e in stored_events if e.topic == UploadRegistered.__name__]
        several = erased or announced or audit
        with self.datastore.get_connection() as conn, conn.transaction() if several else nullcontext():
            if not still_wanted():
                raise NoLongerWantedError
            if announced:
                take_announcements(conn, announced)
            conn.execute(
                _write(removes=bool(keys), ends=bool(ended), registers=bool(registered)),
                {
                    "changes": _json(changes),
                    "outbox": _json([row.columns() for row in outbox]),
                    "published": _json(keys),
                    "ended": list(ended),
                    "registered": registered,
                    "events": _json(events),
                },
                prepare=True,
            )
            write_drafts(conn, audit)
            if erased:
                conn.execute(_REDACT, (erased,))
                forget(conn, erased)
        return None

    def announce(self, changed: Mapping[UUID, int]) -> None:
        """Announce which uploads changed. A transaction of its own, which waits for no disk: nothing rests on it."""
        with self.datastore.get_connection() as conn:
            conn.execute(_ANNOUNCE, (CHANNEL, pack(changed.items())), prepare=True)

    def bring_check_forward(self, upload_id: UUID, by: dt.datetime) -> None:
        """Have the check of an upload's run due at `by`, if it was due later."""
        with self.datastore.get_connection() as conn:
            conn.execute(
                "UPDATE outbox SET available_at = %s WHERE upload_id = %s AND target = 'watch' AND available_at > %s",
                (by, upload_id, by),
            )

    def select_states(self, keys: Sequence[tuple[UUID, int]]) -> dict[UUID, bytes]:
        """Return the stored JSON at each (upload, version) that is taken, by upload; at most one key an upload."""
        with self.datastore.get_connection() as conn:
            rows = conn.execute(
                "SELECT originator_id, state FROM upload_events"
                " JOIN unnest(%b::uuid[], %b::bigint[]) AS k (originator_id, originator_version)"
                " USING (originator_id, originator_version)",
                ([key[0] for key in keys], [key[1] for key in keys]),
            ).fetchall()
        return {row["originator_id"]: bytes(row["state"]) for row in rows}
