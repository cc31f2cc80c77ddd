"""The outbox: what is to be published, and when. Also the clock: retries, replays and checks are rows due later."""

import datetime as dt
from collections.abc import Sequence
from uuid import UUID

import msgspec
import structlog
from psycopg_pool import AsyncConnectionPool

from contracts.events import (
    Event,
    ProcessingCompleted,
    ProcessingFailed,
    ProcessingRequested,
    ReplayRequested,
    StageAttemptFailed,
    decode,
)
from shared.upload.saga import ROUTES, RUN_CHECK_INTERVAL, direct_queue

log = structlog.get_logger(__name__)

EXCHANGE = ""
"""Target of a row whose event goes to the topic exchange."""
RUN_CHECK = "watch"
"""Target of the row that has a run under way looked at."""

PUBLISH_WINDOW = dt.timedelta(seconds=5)
"""How long the process that committed a row has it to itself, before the dispatcher may think it dead."""
CLAIM = dt.timedelta(seconds=30)
"""How long a dispatcher has a row that it claimed, before another may take it up."""

RowKey = tuple[UUID, int, str]


class OutboxRow(msgspec.Struct, frozen=True, kw_only=True):
    """One thing to hand on: the event at (`upload_id`, `version`), to `target`, once `available_at` has come.

    `now` says that the process which commits the row publishes it itself, right after the commit.
    """

    event: Event
    target: str
    available_at: dt.datetime
    causation_id: str | None = None
    traceparent: str | None = None
    now: bool = False

    @property
    def key(self) -> RowKey:
        """The row's primary key."""
        return (self.event.upload_id, self.event.version, self.target)

    def columns(self) -> dict[str, object]:
        """Return the row as the table has it."""
        return {
            "upload_id": self.event.upload_id,
            "version": self.event.version,
            "target": self.target,
            "available_at": self.available_at,
            "causation_id": self.causation_id,
            "traceparent": self.traceparent,
        }


def rows_for(
    event: Event,
    *,
    causation_id: str | None = None,
    traceparent: str | None = None,
    publish_window: dt.timedelta = PUBLISH_WINDOW,
) -> list[OutboxRow]:
    """Return the rows that go with an event: who hears of it and when, and the check of a run that it begins.

    `publish_window` is how long the committing process has to publish them itself; zero leaves that to the dispatcher.
    """

    def row(target: str, available_at: dt.datetime, *, now: bool = False) -> OutboxRow:
        return OutboxRow(
            event=event,
            target=target,
            available_at=available_at,
            causation_id=causation_id,
            traceparent=traceparent,
            now=now,
        )

    rows: list[OutboxRow] = []
    queue = direct_queue(event)
    if isinstance(event, StageAttemptFailed) and queue is not None:
        rows.append(row(queue, event.retry_at))
    elif queue is not None or ROUTES[type(event)]:
        rows.append(row(queue or EXCHANGE, event.occurred_at + publish_window, now=True))
    if isinstance(event, ProcessingRequested | ReplayRequested):
        rows.append(row(RUN_CHECK, event.occurred_at + RUN_CHECK_INTERVAL))
    return rows


def ends_run(event: Event) -> bool:
    """Return whether a run is over with this event, so that nobody needs to check it any more."""
    return isinstance(event, ProcessingCompleted | ProcessingFailed)


# Rows that somebody else holds are left to them: waiting could deadlock with a dispatcher that claims in another order,
# and the worst that a row left behind can do is to be published twice.
_DELETE = """
DELETE FROM outbox USING (
    SELECT o.ctid FROM outbox o JOIN unnest(%b::uuid[], %b::bigint[], %b::text[]) AS k (upload_id, version, target)
    USING (upload_id, version, target) FOR UPDATE OF o SKIP LOCKED
) AS held WHERE outbox.ctid = held.ctid
"""
# An array, so that due rows are looked for once. In a join, a planner that thinks the table empty has them looked for
# again for each of its rows: that takes all that is due, limit or not, and quadratic time.
_CLAIM = """
UPDATE outbox o SET available_at = now() + %(claim)s
FROM upload_events e
WHERE o.ctid = ANY (ARRAY(
    SELECT ctid FROM outbox WHERE available_at <= now() AND (%(all)s OR target = 'watch')
    ORDER BY available_at LIMIT %(limit)s FOR UPDATE SKIP LOCKED
)) AND e.originator_id = o.upload_id AND e.originator_version = o.version
RETURNING o.target, o.causation_id, o.traceparent, o.available_at, e.state
"""


def _row(columns: tuple[str, str | None, str | None, dt.datetime, bytes]) -> OutboxRow | None:
    """Read what was claimed. What a newer release wrote is left claimed: its own dispatcher takes it up after CLAIM."""
    target, causation_id, traceparent, available_at, state = columns
    try:
        event = decode(bytes(state))
    except msgspec.DecodeError as error:
        log.error("outbox_row_unreadable", target=target, error=str(error))  # noqa: TRY400 — says it all
        return None
    return OutboxRow(
        event=event, target=target, available_at=available_at, causation_id=causation_id, traceparent=traceparent
    )


class OutboxSweep:
    """The dispatcher's side of the table: claim what is due, and settle what was done with it.

    Nothing is prepared: a plan made while the outbox is empty, as it mostly is, reads all of it once it is not.
    """

    def __init__(self, pool: AsyncConnectionPool) -> None:
        self._pool = pool

    async def claim(self, limit: int, *, only_run_checks: bool = False) -> list[OutboxRow]:
        """Take up to `limit` due rows, oldest first, for CLAIM; two dispatchers never get the same row.

        `only_run_checks` leaves the rows that need the transport: while it is away they stay due.
        """
        async with self._pool.connection() as conn:
            curs = await conn.execute(
                _CLAIM, {"claim": CLAIM, "limit": limit, "all": not only_run_checks}, prepare=False
            )
            rows = await curs.fetchall()
        return [row for row in map(_row, rows) if row is not None]

    async def remove_published(self, keys: Sequence[RowKey]) -> None:
        """Remove rows that were published."""
        async with self._pool.connection() as conn:
            columns = ([k[0] for k in keys], [k[1] for k in keys], [k[2] for k in keys])
            await conn.execute(_DELETE, columns, prepare=False)

    async def postpone(self, key: RowKey, until: dt.datetime) -> None:
        """Have a row looked at again at `until`."""
        async with self._pool.connection() as conn:
            await conn.execute(
                "UPDATE outbox SET available_at = %s WHERE upload_id = %s AND version = %s AND target = %s",
                (until, *key),
                prepare=False,
            )

    async def depth(self) -> tuple[int, float]:
        """Count the rows that are overdue, and return the oldest one's delay in seconds (0 where none is)."""
        async with self._pool.connection() as conn:
            curs = await conn.execute(
                "SELECT count(*), coalesce(extract(epoch FROM now() - min(available_at)), 0)::float8"
                " FROM outbox WHERE available_at <= now()",
                prepare=False,
            )
            row = await curs.fetchone()
        return (int(row[0]), float(row[1])) if row else (0, 0.0)
