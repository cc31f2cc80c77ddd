"""A job's status, version by version, as server-sent events.

What a version looked like is folded from the events up to it, so a client that comes back with the last id it saw gets
the rest just as it would have been told at the time.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from uuid import UUID

import msgspec
import structlog
from psycopg import Error as DatabaseError
from psycopg_pool import PoolTimeout

from contracts.events import Event, Status
from services.gateway.http.deadlines import with_deadline
from services.gateway.jobs.job_status import status_of
from shared.eventstore.stream_reader import StreamReader
from shared.jitter import jittered_sleep
from shared.projection.uploads import RowChange, change_of, merge
from shared.read_model.changes import ChangeListener, Subscription
from shared.storage.port import ObjectStore

log = structlog.get_logger(__name__)

HEARTBEAT = 15.0
"""Seconds between signs of life, so that proxies do not take a quiet stream for a dead one."""
READ_AGAIN = 2.0
"""Seconds until a stream reads again whose read failed."""
RECONNECT_MS = 1_000
"""Milliseconds after which a browser comes back to a stream that broke off."""
SIGN_OF_LIFE = b":\n\n"
"""A comment, which clients skip."""
PENDING_FOR = 60.0
"""Seconds after which the stream of an upload that was not started ends: it may never be, and its client comes back."""

ENDED = frozenset({Status.COMPLETED, Status.FAILED})


class StatusStreams:
    """A process's streams. Each waits to be woken and then reads what is new: an idle one asks nothing of anybody."""

    def __init__(
        self,
        stream_reader: StreamReader,
        changes: ChangeListener,
        objects: ObjectStore,
        *,
        heartbeat: float = HEARTBEAT,
        pending_for: float = PENDING_FOR,
    ) -> None:
        self._stream_reader = stream_reader
        self._changes = changes
        self._objects = objects
        self._heartbeat = heartbeat
        self._pending_for = pending_for

    async def lines(self, upload_id: UUID, last_event_id: int) -> AsyncGenerator[bytes, None]:
        """Return the stream's bytes, until the run has ended or the process does, or none has begun for too long."""
        row: RowChange | None = None
        now = asyncio.get_running_loop().time
        pending_until = now() + self._pending_for
        with self._changes.subscribe(upload_id) as subscription:
            yield b"retry: %d\n\n" % RECONNECT_MS
            while not self._changes.closing:
                heard = subscription.version
                try:
                    events = await self._after(upload_id, row)
                except (DatabaseError, PoolTimeout, TimeoutError) as error:
                    log.info("status_stream_waiting", error=type(error).__name__)
                    yield SIGN_OF_LIFE
                    await jittered_sleep(READ_AGAIN)
                    continue
                for event in events:
                    row = change_of(event) if row is None else merge(row, change_of(event))
                    if row.version > last_event_id:
                        yield await self._message(row)
                if row is not None and row.status in ENDED:
                    return
                # Also beyond what was heard: a hint of more than there is must not have us read in a circle.
                async for sign_of_life in self._quiet(subscription, max(heard, row.version if row else 0)):
                    yield sign_of_life
                    if (row is None or row.status == Status.PENDING) and now() >= pending_until:
                        return

    async def _after(self, upload_id: UUID, row: RowChange | None) -> list[Event]:
        return await with_deadline(lambda: self._stream_reader.after(upload_id, row.version if row else 0))

    async def _quiet(self, subscription: Subscription, version: int) -> AsyncIterator[bytes]:
        """Return signs of life until there is news."""
        while not await subscription.wait_beyond(version, self._heartbeat) and not self._changes.closing:
            yield SIGN_OF_LIFE

    async def _message(self, row: RowChange) -> bytes:
        body = msgspec.json.encode(await status_of(row, self._objects))
        return b"id: %d\ndata: %b\n\n" % (row.version, body)
