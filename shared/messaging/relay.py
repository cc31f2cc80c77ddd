"""From commit to transport: publishes rows as soon as they are committed, and has those removed that were taken."""

import asyncio
from collections.abc import Callable, Sequence

import structlog

from shared.eventstore.outbox import OutboxRow, RowKey
from shared.messaging.message import Transport, TransportDownError, UnroutableError
from shared.observability import logs
from shared.observability.metrics import SendCounts

log = structlog.get_logger(__name__)


class Relay:
    """Sends rows in the background. A row that could not be sent stays in the outbox, for the dispatcher."""

    def __init__(self, transport: Transport, remove_published: Callable[[Sequence[RowKey]], None]) -> None:
        self._transport = transport
        self._remove_published = remove_published
        self._tasks: set[asyncio.Task[None]] = set()
        self._counts = SendCounts("relay")

    def publish(self, rows: Sequence[OutboxRow]) -> None:
        """Begin to send rows; call on the event loop, right after their commit."""
        for row in rows:
            task = asyncio.get_running_loop().create_task(self._send(row))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def drain(self, grace: float) -> None:
        """Wait up to `grace` seconds for what is on its way; the outbox has the rest."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=grace)
        for task in self._tasks:
            task.cancel()

    async def _send(self, row: OutboxRow) -> None:
        logs.about(row.event)
        try:
            await self._transport.send(row)
        except TransportDownError:
            self._counts.away.inc()  # Said once by the transport when it went down; the row is safe.
        except UnroutableError as error:
            log.error("event_unroutable", message_id=row.event.message_id, error=str(error))  # noqa: TRY400 — says it all
            self._counts.unroutable.inc()
        except Exception:
            log.exception("relay_failed", message_id=row.event.message_id)
            self._counts.error.inc()
        else:
            self._counts.sent.inc()
            self._remove_published([row.key])
