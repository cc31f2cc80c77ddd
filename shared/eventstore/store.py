"""The event store as async code sees it: load an upload, append to it, and wait out a database that is away."""

import asyncio
import datetime as dt
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar
from uuid import UUID

from eventsourcing.persistence import InterfaceError, OperationalError

from contracts.events import Event
from shared.database.audit_log import AuditDraft
from shared.eventstore.application import UploadsApplication
from shared.eventstore.group_commit import RETRY_FIRST, RETRY_MAX, GroupCommit, StoreUnavailableError
from shared.eventstore.outbox import PUBLISH_WINDOW, OutboxRow, rows_for
from shared.jitter import jittered_sleep
from shared.observability import traces
from shared.upload.upload import Upload

T = TypeVar("T")


class EventStore:
    """Loads and appends. Reads go through a small thread pool, writes through the process's one group commit."""

    def __init__(
        self, application: UploadsApplication, commits: GroupCommit, *, publish_window: dt.timedelta = PUBLISH_WINDOW
    ) -> None:
        self._application = application
        self._commits = commits
        self._publish_window = publish_window
        self._readers = ThreadPoolExecutor(2, thread_name_prefix="event-reader")

    async def load(self, upload_id: UUID, *, wait: float | None = None) -> Upload:
        """Fold an upload from its events. Raises UploadNotFoundError, or StoreUnavailableError after `wait` seconds."""
        return await self._read(lambda: self._application.load(upload_id), wait)

    async def history(self, upload_id: UUID, *, wait: float | None = None) -> Sequence[Event]:
        """Return an upload's events, oldest first. Raises StoreUnavailableError after `wait` seconds."""
        return await self._read(lambda: self._application.history(upload_id), wait)

    async def append(
        self,
        *events: Event,
        causation_id: str | None = None,
        traceparent: str | None = None,
        announced: bool = False,
        audit: AuditDraft | None = None,
        wait: float | None = None,
    ) -> None:
        """Commit consecutive events of one upload with their read model and outbox rows.

        Waits for the database for up to `wait` seconds (None: for ever). Raises ConflictError where somebody else was
        first, StoreUnavailableError where nothing was written in time. `traceparent` says whose trace it belongs to,
        where nothing that runs here is traced. With `announced` an upload is registered only while its announcement
        stands, which goes with it; raises NotAnnouncedError otherwise. `audit` says who of the operators did it.
        """
        rows: list[OutboxRow] = []
        with traces.append(events, traceparent):
            traceparent = traces.current(traceparent)
            for event in events:
                rows += rows_for(
                    event, causation_id=causation_id, traceparent=traceparent, publish_window=self._publish_window
                )
            await self._commits.append(events, rows, announced=announced, audit=audit, wait=wait)

    async def bring_check_forward(self, upload_id: UUID, *, by: dt.datetime) -> None:
        """Have a run checked by then, if its check was due later."""
        await self._read(lambda: self._application.bring_check_forward(upload_id, by), None)

    async def close(self) -> None:
        """Stop reading; the group commit is closed by whoever started it."""
        self._readers.shutdown(wait=False)

    async def _read(self, query: Callable[[], T], wait: float | None) -> T:
        loop = asyncio.get_running_loop()
        deadline = None if wait is None else loop.time() + wait
        pause = RETRY_FIRST
        while True:
            try:
                return await loop.run_in_executor(self._readers, query)
            except (OperationalError, InterfaceError) as error:
                if deadline is not None and loop.time() + pause > deadline:
                    raise StoreUnavailableError(str(error)) from error
            await jittered_sleep(pause)
            pause = min(pause * 2, RETRY_MAX)
