"""One queue's consumer: each message in a task of its own; acknowledged once handled, or requeued, or dead-lettered.

It consumes through aio-pika on the connection that FastStream keeps: FastStream's own subscriber puts a dozen context
managers around each message, which cost more than all else that is done to take it.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Coroutine

import structlog
from aio_pika.abc import AbstractIncomingMessage, AbstractRobustConnection, AbstractRobustQueue
from aio_pika.exceptions import AMQPError

from shared.messaging.delivery import plain, read, redeliveries
from shared.messaging.message import Consumer, Message, RefusedMessageError, TransportDownError, UnroutableError
from shared.messaging.signature import Signer
from shared.messaging.topology import DELIVERY_LIMIT
from shared.observability.metrics import MESSAGES_DEAD_LETTERED, MESSAGES_REQUEUED

log = structlog.get_logger(__name__)

NACK_FIRST, NACK_MAX = 0.5, 30.0
"""Seconds before a message is given back that could not be handled: more with each delivery, to be no hot loop."""

# What a broken connection can raise, from three libraries' layers. A confirm that never comes is a TimeoutError.
CONNECTION_ERRORS = (AMQPError, ConnectionError, OSError, TimeoutError, RuntimeError)

DeadLetterMove = Callable[[str, AbstractIncomingMessage, str], Awaitable[None]]
"""Moves a message of a queue to its dead letters, with the reason. Raises TransportDownError, UnroutableError."""


Deliveries = list[AbstractIncomingMessage]


class QueueConsumer:
    """Reads one queue, `concurrency` messages at a time.

    Whatever a message is, it is settled: done, given back until the broker's limit, or a dead letter with its reason.
    A lost connection does not interrupt what is in flight, which may be a call that is paid for: it goes on, and when
    the broker delivers its message again, both deliveries are settled together.
    """

    def __init__(
        self, queue: str, consumer: Consumer, *, concurrency: int, dead_letter: DeadLetterMove, signer: Signer
    ) -> None:
        self._queue = queue
        self._consumer = consumer
        self._concurrency = concurrency
        self._move_to_dead_letters = dead_letter
        self._signer = signer
        self._requeued = MESSAGES_REQUEUED.labels(queue)
        self._dead_lettered = MESSAGES_DEAD_LETTERED.labels(queue)
        self.in_flight: dict[bytes, Deliveries] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._stopping = False
        self._reading: tuple[AbstractRobustQueue, str] | None = None

    async def start(self, connection: AbstractRobustConnection) -> None:
        """Begin to read; after a reconnect aio-pika begins again by itself. Raises one of CONNECTION_ERRORS."""
        channel = await connection.channel(publisher_confirms=False)
        await channel.set_qos(prefetch_count=self._concurrency)
        queue = await channel.declare_queue(self._queue, passive=True)
        self._reading = queue, await queue.consume(self._take)

    async def stop(self, grace: float) -> None:
        """Take nothing more; wait up to `grace` seconds for what is in flight, and leave the rest to be redelivered."""
        self._stopping = True
        if self._reading is not None:
            queue, tag = self._reading
            with contextlib.suppress(*CONNECTION_ERRORS):
                await queue.cancel(tag)
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=grace)
        for task in self._tasks:
            task.cancel()

    async def _take(self, delivery: AbstractIncomingMessage) -> None:
        """Begin with a message. One that comes while the process stops is left, and is delivered again."""
        if self._stopping:
            return
        try:
            message = read(delivery, self._signer)
        except Exception as error:  # noqa: BLE001 — hostile bytes raise more than a decoder's own errors
            self._begin(self._dead_letter([delivery], f"cannot be read: {error}"), [delivery])
            return
        if delivery.body in self.in_flight:
            self.in_flight[delivery.body].append(delivery)
            return
        deliveries = self.in_flight[delivery.body] = [delivery]
        self._begin(self._handle(message, deliveries), deliveries)

    def _begin(self, work: Coroutine[None, None, None], deliveries: Deliveries) -> None:
        task = asyncio.get_running_loop().create_task(self._guarded(work, deliveries))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _guarded(self, work: Coroutine[None, None, None], deliveries: Deliveries) -> None:
        """See that a message is settled even where that fails: the broker itself moves it to the dead letters."""
        try:
            await work
        except Exception:
            log.exception("message_rejected", queue=self._queue)
            self._dead_lettered.inc()
            await _reject(deliveries, requeue=False)

    async def _handle(self, message: Message, deliveries: Deliveries) -> None:
        try:
            await self._consumer.handle(message)
        except RefusedMessageError as refused:
            self._let_go(deliveries)
            await self._dead_letter(deliveries, f"refused: {refused}")
        except Exception as error:
            self._let_go(deliveries)
            log.exception("message_not_handled", queue=self._queue, message_id=message.event.message_id)
            if redeliveries(deliveries[-1]) < DELIVERY_LIMIT:
                await self._requeue(deliveries)
            else:
                await self._dead_letter(deliveries, f"not handled: {type(error).__name__}")
        except asyncio.CancelledError:
            self._let_go(deliveries)
            raise
        else:
            self._let_go(deliveries)
            await _acknowledge(deliveries)

    def _let_go(self, deliveries: Deliveries) -> None:
        """Have the next delivery of a message begin anew."""
        del self.in_flight[deliveries[0].body]

    async def _dead_letter(self, deliveries: Deliveries, reason: str) -> None:
        letter, reason = deliveries[-1], plain(reason)
        ids = {"message_id": plain(letter.message_id or ""), "workflow_run_id": plain(letter.correlation_id or "")}
        log.error("message_dead_lettered", service=self._queue, queue=self._queue, reason=reason, **ids)
        try:
            await self._move_to_dead_letters(self._queue, letter, reason)
        except (TransportDownError, UnroutableError):
            await self._requeue(deliveries)
        else:
            self._dead_lettered.inc()
            await _acknowledge(deliveries)

    async def _requeue(self, deliveries: Deliveries) -> None:
        """Have the broker deliver a message again, later each time.

        After DELIVERY_LIMIT it would dead-letter the message itself; we do that first. RabbitMQ 3.10 does not survive
        a stranger's header `x-death`: it moves no message of any queue of the node any more until it is restarted.
        """
        self._requeued.inc()
        await asyncio.sleep(min(NACK_FIRST * 2 ** redeliveries(deliveries[-1]), NACK_MAX))
        await _reject(deliveries, requeue=True)


async def _reject(deliveries: Deliveries, *, requeue: bool) -> None:
    for delivery in deliveries:
        # Rejected and not nacked: from RabbitMQ 4.3 on, only a rejection counts as a delivery that failed.
        with contextlib.suppress(*CONNECTION_ERRORS):
            await delivery.reject(requeue=requeue)


async def _acknowledge(deliveries: Deliveries) -> None:
    """Send it on its way, without a wait for the socket. On a connection that is gone, the message comes again."""
    for delivery in deliveries:
        with contextlib.suppress(*CONNECTION_ERRORS):
            await delivery.channel.basic_ack(delivery.delivery_tag or 0, wait=False)
