"""Replays of many runs as durable jobs: the rows that say what is to be replayed, how far it is and who works on it."""

import datetime as dt
from typing import Any
from uuid import UUID

import msgspec
import uuid_utils.compat
from psycopg import Rollback
from psycopg.rows import class_row
from psycopg.sql import SQL, Composable
from psycopg.types.json import Jsonb
from psycopg_pool import AsyncConnectionPool

from contracts.ops import ItemState, JobState, Tally
from shared.database.audit_log import note


class NewJob(msgspec.Struct, frozen=True, kw_only=True):
    """What an operator asks for.

    At most `rate` runs a second are set going, and no more than `at_once` are under way; beyond a share `stop_at` of
    failures in a batch the job stops.
    """

    selection: dict[str, Any]
    from_stage: str | None
    requested_by: str
    reason: str
    rate: float
    at_once: int
    stop_at: float


class ReplayJob(msgspec.Struct, frozen=True, kw_only=True):
    """A job as it stands. It is over once `ended_at` is set; `why` says why it stopped by itself."""

    id: UUID
    state: JobState
    why: str | None
    requested_by: str
    reason: str
    selection: dict[str, Any]
    from_stage: str | None
    total: int
    rate: float
    at_once: int
    stop_at: float
    batch: int
    created_at: dt.datetime
    ended_at: dt.datetime | None


class ReplayItem(msgspec.Struct, frozen=True, kw_only=True):
    """One run of a job; `attempt` is the one that the replay makes of it."""

    position: int
    batch: int
    upload_id: UUID
    workflow_run_id: UUID
    attempt: int
    state: ItemState
    code: str | None


JOB_COLUMNS = ", ".join(ReplayJob.__struct_fields__)
ITEM_COLUMNS = ", ".join(ReplayItem.__struct_fields__)

_START = """
INSERT INTO replay_jobs (id, requested_by, reason, selection, from_stage, total, rate, at_once, stop_at)
VALUES (%(id)s, %(requested_by)s, %(reason)s, %(selection)s, %(from_stage)s, 0, %(rate)s, %(at_once)s, %(stop_at)s)
"""
# The batch is `batch_of(position)`, in SQL.
_FILL = SQL("""
INSERT INTO replay_items (job_id, position, batch, upload_id, workflow_run_id, attempt)
SELECT %(job_id)s, position, length((9 * position)::text), id, workflow_run_id, attempt + 1
FROM (SELECT row_number() OVER (ORDER BY updated_at, id) AS position, * FROM ({chosen}) AS chosen) AS numbered
""")

_CLOSE = "UPDATE replay_jobs SET state = %s, why = %s WHERE id = %s AND state = 'running'"
_LEAVE = "UPDATE replay_items SET state = 'cancelled' WHERE job_id = %s AND state = 'waiting'"


class ReplayJobs:
    """The operators' side: start, cancel, look. Every method may raise psycopg.Error or psycopg_pool.PoolTimeout."""

    def __init__(self, pool: AsyncConnectionPool) -> None:
        self._pool = pool

    async def start(self, job: NewJob, chosen: Composable, values: dict[str, Any]) -> UUID | None:
        """Fix the runs that `chosen` gives as a job, and note who asked for it. None, and no job, without any."""
        job_id: UUID = uuid_utils.compat.uuid7()
        total = 0
        async with self._pool.connection() as conn, conn.transaction():
            await conn.execute(_START, msgspec.structs.asdict(job) | {"id": job_id, "selection": Jsonb(job.selection)})
            total = (await conn.execute(_FILL.format(chosen=chosen), values | {"job_id": job_id})).rowcount
            if not total:
                raise Rollback
            await conn.execute("UPDATE replay_jobs SET total = %s WHERE id = %s", (total, job_id))
            details = {"jobId": str(job_id), "selection": job.selection, "runs": total}
            await note(conn, who=job.requested_by, what="replay.start", why=job.reason, details=details)
        return job_id if total else None

    async def cancel(self, job_id: UUID, *, who: str, why: str) -> bool:
        """Replay no more of a job; what is under way goes on. False where it was not running."""
        return await close_job(self._pool, job_id, "cancelled", who=who, why=why)

    async def get(self, job_id: UUID) -> ReplayJob | None:
        """Return a job, or None where there is none."""
        async with self._pool.connection() as conn, conn.cursor(row_factory=class_row(ReplayJob)) as curs:
            await curs.execute(f"SELECT {JOB_COLUMNS} FROM replay_jobs WHERE id = %s", (job_id,))  # noqa: S608
            return await curs.fetchone()

    async def latest(self, limit: int) -> list[ReplayJob]:
        """Return the last jobs, the latest first."""
        async with self._pool.connection() as conn, conn.cursor(row_factory=class_row(ReplayJob)) as curs:
            await curs.execute(
                f"SELECT {JOB_COLUMNS} FROM replay_jobs ORDER BY created_at DESC, id DESC LIMIT %s",  # noqa: S608
                (limit,),
            )
            return await curs.fetchall()

    async def items(self, job_id: UUID, *, limit: int, after: int = 0) -> list[ReplayItem]:
        """Return a job's runs in the order of their replay; `after` is the position of the last one seen."""
        async with self._pool.connection() as conn, conn.cursor(row_factory=class_row(ReplayItem)) as curs:
            await curs.execute(
                f"SELECT {ITEM_COLUMNS} FROM replay_items WHERE job_id = %s AND position > %s"  # noqa: S608
                " ORDER BY position LIMIT %s",
                (job_id, after, limit),
            )
            return await curs.fetchall()

    async def tally(self, job_id: UUID) -> Tally:
        """Count the runs of a job by where they stand."""
        return await count_runs(self._pool, job_id)


async def close_job(pool: AsyncConnectionPool, job_id: UUID, state: JobState, *, who: str, why: str) -> bool:
    """Have a job replay no more, and note who ended it; what is under way goes on. False where it was not running."""
    what = {"cancelled": "replay.cancel", "stopped": "replay.stop"}[state]
    async with pool.connection() as conn, conn.transaction():
        if not (await conn.execute(_CLOSE, (state, why, job_id))).rowcount:
            return False
        left = (await conn.execute(_LEAVE, (job_id,))).rowcount
        await note(conn, who=who, what=what, why=why, details={"jobId": str(job_id), "leftOut": left})
    return True


async def count_runs(pool: AsyncConnectionPool, job_id: UUID, batch: int | None = None) -> Tally:
    """Count the runs of a job, or of one of its batches, by where they stand."""
    async with pool.connection() as conn:
        curs = await conn.execute(
            "SELECT state, count(*)::int FROM replay_items WHERE job_id = %(job_id)s"
            " AND (%(batch)s::integer IS NULL OR batch = %(batch)s) GROUP BY state",
            {"job_id": job_id, "batch": batch},
        )
        return msgspec.convert(dict(await curs.fetchall()), Tally)
