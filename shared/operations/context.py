"""What an operator's functions work on: the store, the read model, the jobs and the log, over one pool."""

import contextlib
import datetime as dt
from collections.abc import AsyncIterator, Sequence

import msgspec
from psycopg_pool import AsyncConnectionPool

from shared.database.audit_log import AuditLog
from shared.database.conninfo import conninfo_with_timeouts
from shared.eventstore.application import UploadsApplication
from shared.eventstore.group_commit import GroupCommit
from shared.eventstore.object_cleanups import ObjectCleanups
from shared.eventstore.outbox import OutboxRow
from shared.eventstore.pending_uploads import PendingUploads
from shared.eventstore.store import EventStore
from shared.eventstore.stream_reader import StreamReader
from shared.operations.replay_jobs import ReplayJobs
from shared.operations.runs import RunQueries
from shared.read_model.queries import UploadQueries

CONNECT_TIMEOUT = 5.0
"""Seconds that a command waits for the database."""


class OperatorContext(msgspec.Struct, frozen=True):
    """What an operator's functions work on. Build it with `operator_context` or `open_operator_context`."""

    store: EventStore
    uploads: UploadQueries
    runs: RunQueries
    stream_reader: StreamReader
    jobs: ReplayJobs
    audit_log: AuditLog
    announced: PendingUploads
    cleanups: ObjectCleanups


def operator_context(pool: AsyncConnectionPool, store: EventStore) -> OperatorContext:
    """Return the context over a running process's connections."""
    return OperatorContext(
        store=store,
        uploads=UploadQueries(pool),
        runs=RunQueries(pool),
        stream_reader=StreamReader(pool),
        jobs=ReplayJobs(pool),
        audit_log=AuditLog(pool),
        announced=PendingUploads(pool),
        cleanups=ObjectCleanups(pool),
    )


@contextlib.asynccontextmanager
async def open_operator_context(database_url: str) -> AsyncIterator[OperatorContext]:
    """Open a context for one command. What it commits is left to the dispatcher to publish, at once.

    Raises psycopg_pool.PoolTimeout where the database cannot be reached.
    """
    application = UploadsApplication(database_url, pool_size=1)
    commits = GroupCommit(application, on_committed=_leave_to_dispatcher)
    store = EventStore(application, commits, publish_window=dt.timedelta(0))
    pool = AsyncConnectionPool(
        conninfo_with_timeouts(database_url),
        open=False,
        min_size=1,
        max_size=2,
        timeout=CONNECT_TIMEOUT,
        kwargs={"autocommit": True},
    )
    commits.start()
    try:
        await pool.open(wait=True, timeout=CONNECT_TIMEOUT)
        yield operator_context(pool, store)
    finally:
        await pool.close()
        await commits.close()
        await store.close()
        application.close()


def _leave_to_dispatcher(_: Sequence[OutboxRow]) -> None:
    """Leave committed rows to the dispatcher: this process speaks to no broker."""
