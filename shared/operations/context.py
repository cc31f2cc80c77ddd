"""What an operator's functions work on: the store, the read model, the jobs and the log, over one pool."""

import contextlib
import datetime as dt
from collections.abc import AsyncIterator, Sequence

import msgspec
from psycopg_pool import AsyncConnectionPool

from shared.database.conninfo import patient_conninfo
from shared.eventstore.application import UploadsApplication
from shared.eventstore.group_commit import GroupCommit
from shared.eventstore.outbox import OutboxRow
from shared.eventstore.store import EventStore
from shared.eventstore.stream_reader import Histories
from shared.operations.audit_log import OperatorActions
from shared.operations.replay_jobs import ReplayJobs
from shared.operations.runs import RunQueries
from shared.read_model.queries import UploadQueries

CONNECT_TIMEOUT = 5.0
"""Seconds that a command waits for the database."""


class Desk(msgspec.Struct, frozen=True):
    """An operator's desk. Build it with `desk_over` or `open_desk`."""

    store: EventStore
    uploads: UploadQueries
    runs: RunQueries
    histories: Histories
    jobs: ReplayJobs
    actions: OperatorActions


def desk_over(pool: AsyncConnectionPool, store: EventStore) -> Desk:
    """Set a desk up over a running process's parts."""
    return Desk(
        store=store,
        uploads=UploadQueries(pool),
        runs=RunQueries(pool),
        histories=Histories(pool),
        jobs=ReplayJobs(pool),
        actions=OperatorActions(pool),
    )


@contextlib.asynccontextmanager
async def open_desk(database_url: str) -> AsyncIterator[Desk]:
    """Open a desk for one command. What it commits is left to the dispatcher to hand on, at once.

    Raises psycopg_pool.PoolTimeout where the database cannot be reached.
    """
    application = UploadsApplication(database_url, pool_size=1)
    commits = GroupCommit(application, on_committed=_leave)
    store = EventStore(application, commits, grace=dt.timedelta(0))
    pool = AsyncConnectionPool(
        patient_conninfo(database_url),
        open=False,
        min_size=1,
        max_size=2,
        timeout=CONNECT_TIMEOUT,
        kwargs={"autocommit": True},
    )
    commits.start()
    try:
        await pool.open(wait=True, timeout=CONNECT_TIMEOUT)
        yield desk_over(pool, store)
    finally:
        await pool.close()
        await commits.close()
        await store.close()
        application.close()


def _leave(_: Sequence[OutboxRow]) -> None:
    """Leave committed rows to the dispatcher: this process speaks to no broker."""
