"""The dispatcher's side of a replay of many runs: who works on it, and how far it is."""

import datetime as dt
from collections.abc import Sequence
from uuid import UUID

from psycopg.rows import class_row
from psycopg_pool import AsyncConnectionPool

from contracts.ops import ItemState, Tally
from shared.operations.replay_jobs import (
    ITEM_COLUMNS,
    JOB_COLUMNS,
    ReplayItem,
    ReplayJob,
    close_job,
    count_runs,
)

LEASE = dt.timedelta(seconds=10)
"""How long a dispatcher has a job after it last said that it works on it."""

_LEASE = """
UPDATE replay_jobs SET lease_holder = %(holder)s, lease_until = now() + %(lease)s WHERE id = (
    SELECT id FROM replay_jobs WHERE ended_at IS NULL AND lease_until <= now()
    ORDER BY created_at, id LIMIT 1 FOR UPDATE SKIP LOCKED
) RETURNING id
"""
_RENEW = f"""
UPDATE replay_jobs SET lease_until = now() + %(lease)s
WHERE id = %(job_id)s AND lease_holder = %(holder)s AND ended_at IS NULL RETURNING {JOB_COLUMNS}
"""  # noqa: S608 — own columns
# A failed run that has a later attempt by now has failed at this one: nothing else can be replayed.
_RECORD_ENDS = """
UPDATE replay_items i SET
    state = CASE WHEN u.attempt = i.attempt AND u.status = 'completed' THEN 'completed' ELSE 'failed' END,
    code = CASE WHEN u.attempt = i.attempt THEN u.error_code END
FROM uploads u
WHERE i.job_id = %s AND i.state = 'requested' AND u.id = i.upload_id
    AND (u.attempt > i.attempt OR (u.attempt = i.attempt AND u.status IN ('completed', 'failed')))
"""


class ReplayLeases:
    """Takes jobs up and moves them on. Every method may raise psycopg.Error or psycopg_pool.PoolTimeout."""

    def __init__(self, pool: AsyncConnectionPool) -> None:
        self._pool = pool

    async def lease(self, holder: str) -> UUID | None:
        """Take up a job that nobody works on; None where there is none."""
        async with self._pool.connection() as conn:
            row = await (await conn.execute(_LEASE, {"holder": holder, "lease": LEASE})).fetchone()
        return row[0] if row else None

    async def renew(self, job_id: UUID, holder: str) -> ReplayJob | None:
        """Keep the lease and return the job as it stands; None where it is over or another has taken it up."""
        async with self._pool.connection() as conn, conn.cursor(row_factory=class_row(ReplayJob)) as curs:
            await curs.execute(_RENEW, {"job_id": job_id, "holder": holder, "lease": LEASE})
            return await curs.fetchone()

    async def release(self, job_id: UUID, holder: str) -> None:
        """Return the lease back, so that another need not wait for its end."""
        async with self._pool.connection() as conn:
            await conn.execute(
                "UPDATE replay_jobs SET lease_until = now() WHERE id = %s AND lease_holder = %s", (job_id, holder)
            )

    async def waiting(self, job_id: UUID, batch: int, limit: int) -> list[ReplayItem]:
        """Return the next runs of a batch whose turn has come."""
        async with self._pool.connection() as conn, conn.cursor(row_factory=class_row(ReplayItem)) as curs:
            await curs.execute(
                f"SELECT {ITEM_COLUMNS} FROM replay_items WHERE job_id = %s AND batch = %s AND state = 'waiting'"  # noqa: S608
                " ORDER BY position LIMIT %s",
                (job_id, batch, limit),
            )
            return await curs.fetchall()

    async def tally(self, job_id: UUID, batch: int | None = None) -> Tally:
        """Count the runs of a job, or of one of its batches, by where they stand."""
        return await count_runs(self._pool, job_id, batch)

    async def mark(self, job_id: UUID, positions: Sequence[int], state: ItemState, code: str | None = None) -> None:
        """Note what was done with runs, also with one that was called off while it was being replayed."""
        async with self._pool.connection() as conn:
            await conn.execute(
                "UPDATE replay_items SET state = %s, code = %s WHERE job_id = %s AND position = ANY(%s)"
                " AND state IN ('waiting', 'cancelled')",
                (state, code, job_id, list(positions)),
            )

    async def record_ends(self, job_id: UUID) -> None:
        """Note how replayed runs ended, as far as they have."""
        async with self._pool.connection() as conn:
            await conn.execute(_RECORD_ENDS, (job_id,))

    async def begin_batch(self, job_id: UUID, batch: int) -> None:
        """Let the next batch begin."""
        async with self._pool.connection() as conn:
            await conn.execute("UPDATE replay_jobs SET batch = %s WHERE id = %s AND batch < %s", (batch, job_id, batch))

    async def stop(self, job_id: UUID, *, why: str) -> bool:
        """Have a job stop by itself; what is under way goes on. False where it was not running."""
        return await close_job(self._pool, job_id, "stopped", who="darkroom", why=why)

    async def end(self, job_id: UUID) -> None:
        """Note that a job is over: `done` where nothing stopped it."""
        async with self._pool.connection() as conn:
            await conn.execute(
                "UPDATE replay_jobs SET ended_at = now(), state = CASE state WHEN 'running' THEN 'done' ELSE state END"
                " WHERE id = %s AND ended_at IS NULL",
                (job_id,),
            )
