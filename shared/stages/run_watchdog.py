"""The run watchdog: ends a run that is past its deadline, and wakes a stage that went silent.

One outbox row a run is its timer. A worker that died without a word, or a message that was lost, is found by it.
"""

import datetime as dt

import structlog

from contracts.events import Status
from shared.clock import utc_now
from shared.eventstore.group_commit import ConflictError
from shared.eventstore.outbox import OutboxRow
from shared.eventstore.store import EventStore
from shared.messaging.message import Transport
from shared.upload.decisions import next_check_at, overdue_at, time_out
from shared.upload.errors import UploadNotFoundError
from shared.upload.saga import RUN_CHECK_INTERVAL, SAGA
from shared.upload.upload import Upload

log = structlog.get_logger(__name__)


class RunWatchdog:
    """Checks runs that are under way, one at a time."""

    def __init__(self, store: EventStore, transport: Transport) -> None:
        self._store = store
        self._transport = transport

    async def check(self, row: OutboxRow) -> dt.datetime | None:
        """Check the run of a timer's row; return when to check it again, or None once it has ended.

        Raises TransportDownError or UnroutableError where a silent stage cannot be woken.
        """
        try:
            upload = await self._store.load(row.event.upload_id)
        except UploadNotFoundError:
            return None
        if upload.status is not Status.PROCESSING:
            return None
        now = utc_now()
        if (ended := time_out(upload, now=now)) is not None:
            try:
                await self._store.append(ended, causation_id=row.event.message_id, traceparent=row.traceparent)
            except ConflictError:
                return now
            return None
        if overdue_at(upload) <= now:
            await self._wake(upload, row.traceparent)
        return next_check_at(upload, now=now, every=RUN_CHECK_INTERVAL)

    async def _wake(self, upload: Upload, traceparent: str | None) -> None:
        """Send the due stage its input again; it decides from the stream what is left to do."""
        if upload.stage is None:
            return
        log.warning("stage_woken", stage=upload.stage, attempt=upload.attempt)
        event, queue = upload.inputs[upload.stage], SAGA[upload.stage].queue
        row = OutboxRow(event=event, target=queue, available_at=utc_now(), traceparent=traceparent)
        await self._transport.send(row)
