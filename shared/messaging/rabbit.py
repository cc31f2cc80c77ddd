"""RabbitMQ through FastStream: confirmed, mandatory, persistent publishing, and consumers that acknowledge by hand."""

import asyncio
import contextlib
import random
from collections.abc import Callable
from typing import Any

import aio_pika
import msgspec
import structlog
from aio_pika.abc import AbstractExchange
from aio_pika.exceptions import AMQPError, ChannelPreconditionFailed, DeliveryError, PublishError
from faststream import AckPolicy
from faststream.message import StreamMessage
from faststream.rabbit import Channel, RabbitBroker, RabbitMessage
from faststream.rabbit.schemas import RabbitExchange

from contracts.events import decode, encode, routing_key
from shared.eventstore.outbox import EXCHANGE, OutboxRow
from shared.eventstore.store import utc_now
from shared.messaging.message import Consumer, Message, TopologyConflictError, TransportDownError, UnroutableError
from shared.messaging.topology import DEFAULT, EVENTS, QUEUES, dead, declare, work_queue
from shared.observability import traces
from shared.observability.metrics import MESSAGES_GIVEN_BACK, MESSAGES_SET_ASIDE

log = structlog.get_logger(__name__)

CONFIRM_TIMEOUT = 10.0
"""Seconds that the broker has to confirm a message."""
CONNECT_TIMEOUT = 5.0
"""Seconds that one try to connect may take."""
CONNECT_FIRST, CONNECT_MAX = 0.2, 5.0
"""Seconds between tries to connect: doubling from the first to the last, with jitter."""
NACK_FIRST, NACK_MAX = 0.5, 30.0
"""Seconds before a message is given back that could not be handled: more with each delivery, to be no hot loop."""

# What a broken connection can raise, from three libraries' layers. A confirm that never comes is a TimeoutError.
BROKER_DOWN = (AMQPError, ConnectionError, OSError, TimeoutError, RuntimeError)


class RabbitTransport:
    """This process's one connection to the broker, for both directions. Comes back by itself after an outage."""

    def __init__(self, url: str, *, grace: float, on_state: Callable[[bool], None] = lambda _: None) -> None:
        self.up = False
        self._on_state = on_state
        self._exchanges: dict[str, AbstractExchange] = {}
        self._broker = RabbitBroker(
            url,
            default_channel=Channel(publisher_confirms=True, on_return_raises=True),
            timeout=CONNECT_TIMEOUT,
            graceful_timeout=grace,
            reconnect_interval=1.0,
            logger=None,
            apply_types=False,
            on_close=[self._lost],
            on_reconnected=[self._back],
        )

    def consume(self, queue: str, consumer: Consumer, *, concurrency: int) -> None:
        """Have `consumer` read `queue`, `concurrency` messages at a time. Call before `start`."""
        subscriber = self._broker.subscriber(
            work_queue(queue, declare=False),
            channel=Channel(prefetch_count=concurrency),
            ack_policy=AckPolicy.MANUAL,
            decoder=_raw,
        )
        subscriber(_Delivery(queue, consumer, self))

    async def start(self) -> None:
        """Connect, declare the topology and begin to consume; waits for a broker that is away.

        Raises TopologyConflictError where the broker has something of the name that differs: waiting would not help.
        """
        pause = CONNECT_FIRST
        while True:
            try:
                await self._connect()
                await declare(self._broker)
                # Published through directly: FastStream's own publish does the same through four more layers.
                self._exchanges = {each.name: await self._broker.declare_exchange(each) for each in (EVENTS, DEFAULT)}
                await self._broker.start()
            except ChannelPreconditionFailed as error:
                raise TopologyConflictError(str(error)) from error
            except BROKER_DOWN as error:
                if pause == CONNECT_FIRST:
                    log.warning("broker_away", error=type(error).__name__)
                    self._on_state(False)
                with contextlib.suppress(Exception):
                    await self._broker.stop()
                await asyncio.sleep(pause * random.uniform(0.75, 1.25))
                pause = min(pause * 2, CONNECT_MAX)
            else:
                self._set(up=True)
                return

    async def _connect(self) -> None:
        """Connect. Told to end meanwhile, see the try through first, so that `close` has something to close.

        Cancelled in the middle of it, aio-pika goes on to reconnect for ever, in a task that nothing ends.
        """
        connecting = asyncio.ensure_future(self._broker.connect())
        try:
            await asyncio.shield(connecting)
        except asyncio.CancelledError:
            while not connecting.done():
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.wait((connecting,))
            connecting.exception()
            raise

    async def stop_consuming(self) -> None:
        """Take nothing more, and wait for what is being handled, up to the grace period."""
        await asyncio.gather(*(subscriber.stop() for subscriber in self._broker.subscribers))

    async def close(self) -> None:
        """Close the connection; what was not acknowledged is delivered again."""
        with contextlib.suppress(*BROKER_DOWN):
            await self._broker.stop()

    async def send(self, row: OutboxRow) -> None:
        """Publish a row's event; wait until the broker has it on disk. Raises UnroutableError, TransportDownError."""
        if not self.up:
            raise TransportDownError("the broker is away")
        event = row.event
        to_exchange = row.target == EXCHANGE
        with traces.send(event, row.target or EVENTS.name, row.traceparent):
            headers = {
                "schema_version": event.schema_version,
                "causation_id": row.causation_id,
                "traceparent": traces.current(row.traceparent),
            }
            await self._publish(
                encode(event),
                EVENTS if to_exchange else DEFAULT,
                routing_key(type(event)) if to_exchange else row.target,
                message_id=event.message_id,
                correlation_id=event.correlation_id,
                type=type(event).__name__,
                timestamp=event.occurred_at,
                headers={name: value for name, value in headers.items() if value is not None},
            )

    async def set_aside(self, queue: str, raw: RabbitMessage, reason: str) -> None:
        """Move a message that cannot be read to the queue's dead letters, with the reason in its headers."""
        incoming = raw.raw_message
        await self._publish(
            raw.body,
            DEFAULT,
            dead(queue),
            message_id=incoming.message_id,
            correlation_id=incoming.correlation_id,
            type=incoming.type,
            timestamp=incoming.timestamp,
            headers={
                **incoming.headers,
                "x-reason": reason,
                "x-queue": queue,
                "x-routing-key": incoming.routing_key,
                "x-set-aside-at": utc_now().isoformat(),
            },
        )

    async def dead_letters(self) -> dict[str, int]:
        """Count each queue's dead letters. Raises TransportDownError."""
        if not self.up:
            raise TransportDownError("the broker is away")
        try:
            connection = await self._broker.connect()
            async with connection.channel() as channel:
                found = {queue: await channel.declare_queue(dead(queue), passive=True) for queue in QUEUES}
        except BROKER_DOWN as error:
            raise TransportDownError(f"not counted: {type(error).__name__}") from error
        return {queue: letters.declaration_result.message_count or 0 for queue, letters in found.items()}

    async def _publish(self, body: bytes, exchange: RabbitExchange, key: str, **properties: Any) -> None:
        try:
            await self._exchanges[exchange.name].publish(
                aio_pika.Message(
                    body,
                    delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
                    content_type="application/json",
                    **properties,
                ),
                key,
                mandatory=True,
                timeout=CONFIRM_TIMEOUT,
            )
        except PublishError as error:
            raise UnroutableError(f"no queue is bound for {key!r}") from error
        except (DeliveryError, *BROKER_DOWN) as error:
            raise TransportDownError(f"not confirmed: {type(error).__name__}") from error

    def _lost(self, *_: object) -> None:
        self._set(up=False)

    def _back(self, *_: object) -> None:
        self._set(up=True)

    def _set(self, *, up: bool) -> None:
        if up is not self.up:
            self.up = up
            log.info("broker_connected") if up else log.warning("broker_lost")
            self._on_state(up)


class _Delivery:
    """One queue's handler as FastStream calls it: decode, handle, then acknowledge, give back, or set aside."""

    def __init__(self, queue: str, consumer: Consumer, transport: RabbitTransport) -> None:
        self._queue = queue
        self._consumer = consumer
        self._transport = transport
        self._given_back = MESSAGES_GIVEN_BACK.labels(queue)
        self._aside = MESSAGES_SET_ASIDE.labels(queue)

    async def __call__(self, raw: RabbitMessage) -> None:
        try:
            event = decode(raw.body)
        except msgspec.DecodeError as error:
            await self._set_aside(raw, f"cannot be read: {error}")
            return
        incoming = raw.raw_message
        message = Message(
            event=event,
            traceparent=_text(raw.headers.get("traceparent")),
            first_hand=not incoming.redelivered and incoming.exchange == EVENTS.name,
        )
        try:
            await self._consumer.handle(message)
        except Exception:
            log.exception("message_not_handled", queue=self._queue, message_id=event.message_id)
            await self._give_back(raw)
        else:
            await _settled(raw.ack())

    async def _set_aside(self, raw: RabbitMessage, reason: str) -> None:
        ids = {"message_id": raw.message_id, "workflow_run_id": raw.correlation_id}
        log.error("message_set_aside", service=self._queue, queue=self._queue, reason=reason, **ids)
        try:
            await self._transport.set_aside(self._queue, raw, reason)
        except (TransportDownError, UnroutableError):
            await self._give_back(raw)
        else:
            self._aside.inc()
            await _settled(raw.ack())

    async def _give_back(self, raw: RabbitMessage) -> None:
        """Have the broker deliver a message again, later each time; after DELIVERY_LIMIT it is a dead letter."""
        self._given_back.inc()
        count = int(str(raw.headers.get("x-delivery-count") or 0))
        await asyncio.sleep(min(NACK_FIRST * 2**count, NACK_MAX))
        # Rejected and not nacked: from RabbitMQ 4.3 on, only a rejection counts as a delivery that failed.
        await _settled(raw.reject(requeue=True))


async def _raw(message: StreamMessage[Any]) -> StreamMessage[Any]:
    """Hand the message through undecoded. Asynchronous, because FastStream runs any other decoder in a thread."""
    return message


async def _settled(answer: Any) -> None:
    """Send an acknowledgement. On a connection that is gone it cannot be sent, and the message comes again."""
    with contextlib.suppress(*BROKER_DOWN):
        await answer


def _text(header: object) -> str | None:
    return header.decode() if isinstance(header, bytes) else header if isinstance(header, str) else None
