"""One queue's reader: each message in a task of its own; acknowledged once handled, or given back, or set aside.

It consumes through aio-pika on the connection that FastStream keeps: FastStream's own subscriber puts a dozen context
managers around each message, which cost more than all else that is done to take it.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Coroutine, Sequence

import msgspec
import structlog
from aio_pika.abc import AbstractIncomingMessage, AbstractRobustConnection, AbstractRobustQueue
from aio_pika.exceptions import AMQPError

from contracts.events import Event, decode
from shared.messaging.message import Consumer, Message, TransportDownError, UnroutableError
from shared.messaging.topology import EVENTS
from shared.observability.metrics import MESSAGES_DEAD_LETTERED, MESSAGES_REQUEUED

log = structlog.get_logger(__name__)

NACK_FIRST, NACK_MAX = 0.5, 30.0
"""Seconds before a message is given back that could not be handled: more with each delivery, to be no hot loop."""

# What a broken connection can raise, from three libraries' layers. A confirm that never comes is a TimeoutError.
CONNECTION_ERRORS = (AMQPError, ConnectionError, OSError, TimeoutError, RuntimeError)

DeadLetterMove = Callable[[str, AbstractIncomingMessage, str], Awaitable[None]]
"""Moves a message of a queue to its dead letters, with the reason. Raises TransportDownError, UnroutableError."""


class QueueConsumer:
    """Reads one queue, `concurrency` messages at a time.

    A lost connection does not break off what is in hand, which may be a call that is paid for: it goes on, and when the
    broker delivers its message again, that is taken for the same and settled with it.
    """

    def __init__(self, queue: str, consumer: Consumer, *, concurrency: int, dead_letter: DeadLetterMove) -> None:
        self._queue = queue
        self._consumer = consumer
        self._concurrency = concurrency
        self._move_to_dead_letters = dead_letter
        self._requeued = MESSAGES_REQUEUED.labels(queue)
        self._dead_lettered = MESSAGES_DEAD_LETTERED.labels(queue)
        self.in_flight: dict[str, list[AbstractIncomingMessage]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._stopping = False
        self._reading: tuple[AbstractRobustQueue, str] | None = None

    async def start(self, connection: AbstractRobustConnection) -> None:
        """Begin to read; after a reconnect aio-pika begins again by itself. Raises what BROKER_DOWN names."""
        channel = await connection.channel(publisher_confirms=False)
        await channel.set_qos(prefetch_count=self._concurrency)
        queue = await channel.declare_queue(self._queue, passive=True)
        self._reading = queue, await queue.consume(self._take)

    async def stop(self, grace: float) -> None:
        """Take nothing more; wait up to `grace` seconds for what is in hand, and leave the rest to be redelivered."""
        self._stopping = True
        if self._reading is not None:
            queue, tag = self._reading
            with contextlib.suppress(*CONNECTION_ERRORS):
                await queue.cancel(tag)
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=grace)
        for task in self._tasks:
            task.cancel()

    async def _take(self, message: AbstractIncomingMessage) -> None:
        """Begin with a message. One that comes while the process stops is left, and is delivered again."""
        if self._stopping:
            return
        try:
            event = decode(message.body)
        except msgspec.DecodeError as error:
            self._begin(self._dead_letter(message, f"cannot be read: {error}"))
            return
        if event.message_id in self.in_flight:
            self.in_flight[event.message_id].append(message)
            return
        self.in_flight[event.message_id] = [message]
        self._begin(self._handle(event, message))

    def _begin(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _handle(self, event: Event, message: AbstractIncomingMessage) -> None:
        try:
            await self._consumer.handle(
                Message(
                    event=event,
                    traceparent=_text(message.headers.get("traceparent")),
                    fresh=not message.redelivered and message.exchange == EVENTS.name,
                )
            )
        except Exception:
            log.exception("message_not_handled", queue=self._queue, message_id=event.message_id)
            await self._requeue(self.in_flight.pop(event.message_id))
        except asyncio.CancelledError:
            del self.in_flight[event.message_id]
            raise
        else:
            await _acknowledge(self.in_flight.pop(event.message_id))

    async def _dead_letter(self, message: AbstractIncomingMessage, reason: str) -> None:
        ids = {"message_id": message.message_id, "workflow_run_id": message.correlation_id}
        log.error("message_dead_lettered", service=self._queue, queue=self._queue, reason=reason, **ids)
        try:
            await self._move_to_dead_letters(self._queue, message, reason)
        except (TransportDownError, UnroutableError):
            await self._requeue([message])
        else:
            self._dead_lettered.inc()
            await _acknowledge([message])

    async def _requeue(self, deliveries: Sequence[AbstractIncomingMessage]) -> None:
        """Have the broker deliver a message again, later each time; after DELIVERY_LIMIT it is a dead letter."""
        self._requeued.inc()
        count = int(str(deliveries[-1].headers.get("x-delivery-count") or 0))
        await asyncio.sleep(min(NACK_FIRST * 2**count, NACK_MAX))
        for message in deliveries:
            # Rejected and not nacked: from RabbitMQ 4.3 on, only a rejection counts as a delivery that failed.
            with contextlib.suppress(*CONNECTION_ERRORS):
                await message.reject(requeue=True)


async def _acknowledge(deliveries: Sequence[AbstractIncomingMessage]) -> None:
    """Send it on its way, without a wait for the socket. On a connection that is gone, the message comes again."""
    for message in deliveries:
        with contextlib.suppress(*CONNECTION_ERRORS):
            await message.channel.basic_ack(message.delivery_tag or 0, wait=False)


def _text(header: object) -> str | None:
    return header.decode() if isinstance(header, bytes) else header if isinstance(header, str) else None
