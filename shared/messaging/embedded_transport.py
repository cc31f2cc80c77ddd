"""The saga without a broker: rows go straight to the consumers of the same process. The outbox gives the guarantees."""

import asyncio

from shared.eventstore.outbox import EXCHANGE, OutboxRow, RowKey
from shared.messaging.message import Consumer, Message, TransportDownError
from shared.upload.saga import ROUTES


class EmbeddedTransport:
    """Delivers by calling. A row counts as published once every consumer has done with it, so a crash loses nothing."""

    up = True

    def __init__(self, grace: float) -> None:
        self._grace = grace
        self._consumers: dict[str, Consumer] = {}
        self._limits: dict[str, asyncio.Semaphore] = {}
        self._under_way: dict[RowKey, asyncio.Task[None]] = {}

    def consume(self, queue: str, consumer: Consumer, *, concurrency: int) -> None:
        """Have `consumer` get what goes to `queue`, `concurrency` messages at a time."""
        self._consumers[queue] = consumer
        self._limits[queue] = asyncio.Semaphore(concurrency)

    async def send(self, row: OutboxRow) -> None:
        """Have a row handled. One that is being handled is not begun again: its end is waited for."""
        task = self._under_way.get(row.key)
        if task is None:
            task = asyncio.create_task(self._deliver(row))
            self._under_way[row.key] = task
            task.add_done_callback(lambda _: self._under_way.pop(row.key, None))
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            raise
        except Exception as error:
            raise TransportDownError(f"not handled: {error!r}") from error

    async def dead_letters(self) -> dict[str, int]:
        """There are no dead letters here: a row holds an event that was read already."""
        return {}

    async def start(self) -> None:
        """Nothing to connect to."""

    async def stop_consuming(self) -> None:
        """Wait for what is being handled, up to the grace period, then abandon it: the outbox has it."""
        if self._under_way:
            await asyncio.wait(self._under_way.values(), timeout=self._grace)
        for task in list(self._under_way.values()):
            task.cancel()

    async def close(self) -> None:
        """Nothing to let go of."""

    async def _deliver(self, row: OutboxRow) -> None:
        to_exchange = row.target == EXCHANGE
        queues = ROUTES[type(row.event)] if to_exchange else (row.target,)
        message = Message(event=row.event, traceparent=row.traceparent, fresh=to_exchange and row.now)
        await asyncio.gather(*(self._handle(queue, message) for queue in queues if queue in self._consumers))

    async def _handle(self, queue: str, message: Message) -> None:
        async with self._limits[queue]:
            await self._consumers[queue].handle(message)
