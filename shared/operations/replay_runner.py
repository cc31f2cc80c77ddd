"""The job runner: replays of many runs go on here, in every dispatcher, whoever started them and may have gone since.

A dispatcher leases a job, replays a few runs of its batch at a time, and looks how they end. All that it knows is in
the tables, so another takes over where one died. A run is never replayed twice: the item says which attempt the replay
makes, and the append of that attempt succeeds only once.
"""

import asyncio
import os
import secrets
import socket
from collections.abc import Sequence
from uuid import UUID

import structlog
from psycopg import Error as DatabaseError
from psycopg_pool import PoolTimeout

from contracts.events import ReplayRequested, Stage
from shared.cancellation import end_if_cancelled
from shared.clock import utc_now
from shared.eventstore.group_commit import ConflictError, StoreUnavailableError
from shared.eventstore.store import EventStore
from shared.eventstore.stream_reader import StreamReader
from shared.operations.ramp import fails_too_often
from shared.operations.replay_jobs import ReplayItem, ReplayJob
from shared.operations.replay_leases import ReplayLeases
from shared.operations.token_bucket import TokenBucket
from shared.upload.decisions import request_replay
from shared.upload.errors import NotReplayableError
from shared.upload.upload import Upload

log = structlog.get_logger(__name__)

IDLE = 1.0
"""Seconds between looks for a job to take up."""
TICK = 0.1
"""Seconds between steps of a job under way."""
LARGE_JOB = 10_000
"""Runs that a batch may have and still be counted at every step; the steps of a larger job are further apart."""
CHUNK = 250
"""Runs replayed at once: their streams are read in one query and their appends fill a group."""
APPEND_WAIT = 5.0
"""Seconds that an append waits for the database; less than a lease, so that a late one cannot surprise a successor."""


class ReplayRunner:
    """Works on all jobs that it can lease, side by side. Any number of runners may be at work."""

    def __init__(self, work: ReplayLeases, store: EventStore, stream_reader: StreamReader) -> None:
        self._work = work
        self._store = store
        self._histories = stream_reader

    async def run(self) -> None:
        """Take up jobs until cancelled."""
        async with asyncio.TaskGroup() as jobs:
            while True:
                end_if_cancelled()
                holder = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"
                try:
                    job_id = await self._work.lease(holder)
                except (DatabaseError, PoolTimeout):
                    job_id = None  # The dispatcher says that the database is away.
                if job_id is None:
                    await asyncio.sleep(IDLE)
                else:
                    jobs.create_task(self._carry_on(job_id, holder))

    async def _carry_on(self, job_id: UUID, holder: str) -> None:
        """Work on a job until it is over or another has it. At the end of this process it is given back."""
        log.info("replay_job_leased", job_id=str(job_id))
        try:
            await self._steps(job_id, holder)
        except asyncio.CancelledError:
            await self._release(job_id, holder)
            raise
        except (DatabaseError, PoolTimeout) as error:
            log.warning("replay_job_released", job_id=str(job_id), error=type(error).__name__)
        except Exception:
            log.exception("replay_job_released", job_id=str(job_id))

    async def _steps(self, job_id: UUID, holder: str) -> None:
        bucket: TokenBucket | None = None
        while (job := await self._work.renew(job_id, holder)) is not None:
            end_if_cancelled()
            bucket = bucket or TokenBucket(job.rate)
            await self._work.record_ends(job_id)
            moved = await (self._advance(job, bucket) if job.state == "running" else self._wind_up(job))
            if not moved:
                await asyncio.sleep(TICK * max(1.0, job.total / LARGE_JOB))

    async def _advance(self, job: ReplayJob, bucket: TokenBucket) -> bool:
        """Take one step: stop, begin the next batch, or replay what the pace allows. False where to wait first."""
        tally = await self._work.tally(job.id, job.batch)
        if fails_too_often(tally, job.stop_at):
            why = f"{tally.failed} of {tally.begun} runs in batch {job.batch} failed again"
            return await self._work.stop(job.id, why=why)
        if not tally.open:
            await self._next_batch(job)
            return True
        allowed = bucket.take(min(CHUNK, tally.waiting, job.at_once - tally.requested))
        if allowed:
            await self._replay(job, await self._work.waiting(job.id, job.batch, allowed))
        return allowed == CHUNK

    async def _next_batch(self, job: ReplayJob) -> None:
        if await self._work.waiting(job.id, job.batch + 1, 1):
            await self._work.begin_batch(job.id, job.batch + 1)
        else:
            await self._work.end(job.id)

    async def _wind_up(self, job: ReplayJob) -> bool:
        """See a job that replays no more to its end, which is that of the last run it set going."""
        if (await self._work.tally(job.id)).requested:
            return False
        await self._work.end(job.id)
        return True

    async def _replay(self, job: ReplayJob, items: Sequence[ReplayItem]) -> None:
        """Replay runs side by side, and note what became of each. One that could not be recorded keeps waiting."""
        uploads = await self._histories.uploads([item.upload_id for item in items])
        outcomes = await asyncio.gather(*(self._replay_one(job, item, uploads.get(item.upload_id)) for item in items))
        requested = [item.position for item, outcome in zip(items, outcomes, strict=True) if outcome == ""]
        await self._work.mark(job.id, requested, "requested")
        for item, why in zip(items, outcomes, strict=True):
            if why:
                await self._work.mark(job.id, [item.position], "skipped", why)

    async def _replay_one(self, job: ReplayJob, item: ReplayItem, upload: Upload | None) -> str | None:
        """Append the replay. Gives '' where the run has the attempt now, None to try again, or why it cannot be."""
        if upload is None:
            return "there is no such upload"
        if upload.attempt >= item.attempt:
            return ""
        try:
            await self._store.append(_request(job, upload), causation_id=f"replay:{job.id}", wait=APPEND_WAIT)
        except NotReplayableError as refused:
            return refused.why
        except (ConflictError, StoreUnavailableError):
            return None
        return ""

    async def _release(self, job_id: UUID, holder: str) -> None:
        try:
            await self._work.release(job_id, holder)
        except (DatabaseError, PoolTimeout):
            return  # The lease runs out by itself.


def _request(job: ReplayJob, upload: Upload) -> ReplayRequested:
    return request_replay(
        upload,
        from_stage=Stage(job.from_stage) if job.from_stage else None,
        requested_by=job.requested_by,
        reason=job.reason,
        now=utc_now(),
    )
