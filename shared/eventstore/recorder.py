"""The eventsourcing recorder whose transaction also writes the read model and the outbox."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from eventsourcing.persistence import StoredEvent
from eventsourcing.postgres import PostgresApplicationRecorder
from psycopg import Cursor
from psycopg.rows import DictRow
from psycopg.sql import SQL, Composable, Identifier

from shared.eventstore.outbox import OutboxRow, RowKey, delete_rows, insert_rows, unwatch
from shared.projection.notices import CHANNEL, pack
from shared.projection.uploads import COLUMNS, STATED, RowChange

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


def _assignment(column: str) -> Composable:
    name = Identifier(column)
    if column == "progress":
        return SQL("{0} = greatest(u.{0}, excluded.{0})").format(name)
    if column in STATED:
        return SQL("{0} = excluded.{0}").format(name)
    return SQL("{0} = coalesce(excluded.{0}, u.{0})").format(name)


# ORDER BY fixes the order in which rows are locked, so that two processes' groups cannot deadlock.
UPSERT = SQL(
    "INSERT INTO {table} AS u ({columns}) SELECT * FROM unnest({arrays}) AS c ({columns}) ORDER BY id"
    " ON CONFLICT (id) DO UPDATE SET {assignments}"
).format(
    table=Identifier("uploads"),
    columns=SQL(", ").join(map(Identifier, COLUMNS)),
    arrays=SQL(", ").join(SQL("%b::" + _TYPES.get(column, "text") + "[]") for column in COLUMNS),
    assignments=SQL(", ").join(_assignment(column) for column in COLUMNS if column != "id"),
)


class UploadRecorder(PostgresApplicationRecorder):
    """Writes events, `uploads` rows and outbox rows in one transaction, or none of them.

    The library's own table lock and NOTIFY are left out: the lock would let only one process append at a time, and is
    needed only by readers who follow the notification log as it grows. Nobody here does (see ARCHITECTURE.md):
    delivery goes by the outbox.
    """

    # Without the library's ten blind retries: after a lost connection nobody knows whether the transaction was
    # committed, and only the group commit can tell its own rows from a rival's.
    insert_events = PostgresApplicationRecorder.insert_events.__wrapped__

    def _insert_events(
        self,
        curs: Cursor[DictRow],
        stored_events: Sequence[StoredEvent],  # noqa: ARG002 — the hook's signature is the library's
        *,
        changes: Sequence[RowChange] = (),
        outbox: Sequence[OutboxRow] = (),
        ended: Sequence[UUID] = (),
        settled: Sequence[RowKey] = (),
        **_: Any,
    ) -> None:
        if changes:
            curs.execute(UPSERT, [[getattr(c, column) for c in changes] for column in COLUMNS], prepare=True)
        if outbox:
            insert_rows(curs, outbox)
        if ended:
            unwatch(curs, ended)
        if settled:
            delete_rows(curs, settled)
        if changes:
            payloads = pack((change.id, change.version) for change in changes)
            curs.execute("SELECT pg_notify(%b, p) FROM unnest(%b::text[]) AS p", (CHANNEL, payloads), prepare=True)

    def _insert_stored_events(self, curs: Cursor[DictRow], stored_events: Sequence[StoredEvent], **_: Any) -> None:
        curs.execute(
            "INSERT INTO upload_events (originator_id, originator_version, topic, state)"
            " SELECT * FROM unnest(%b::uuid[], %b::bigint[], %b::text[], %b::bytea[]) RETURNING notification_id",
            (
                [e.originator_id for e in stored_events],
                [e.originator_version for e in stored_events],
                [e.topic for e in stored_events],
                [e.state for e in stored_events],
            ),
            prepare=True,
        )

    def select_states(self, keys: Sequence[tuple[UUID, int]]) -> dict[UUID, bytes]:
        """Give the stored JSON at each (upload, version) that is taken, by upload; at most one key an upload."""
        with self.datastore.get_connection() as conn:
            rows = conn.execute(
                "SELECT originator_id, state FROM upload_events"
                " JOIN unnest(%b::uuid[], %b::bigint[]) AS k (originator_id, originator_version)"
                " USING (originator_id, originator_version)",
                ([key[0] for key in keys], [key[1] for key in keys]),
            ).fetchall()
        return {row["originator_id"]: bytes(row["state"]) for row in rows}
