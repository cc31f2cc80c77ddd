"""RabbitMQ through FastStream: its connection and topology, confirmed and mandatory publishing, and the intakes."""

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any, cast

import structlog
from aio_pika import DeliveryMode
from aio_pika.abc import AbstractChannel, AbstractIncomingMessage
from aio_pika.exceptions import ChannelPreconditionFailed, DeliveryError, PublishError
from aiormq import Channel as UnderlayChannel
from aiormq import spec
from faststream.rabbit import Channel, RabbitBroker

from contracts.events import encode, routing_key
from shared.clock import utc_now
from shared.eventstore.outbox import EXCHANGE, OutboxRow
from shared.jitter import jittered_sleep
from shared.messaging.dead_letter import DEAD_LETTERED_AT, REASON, kept_headers
from shared.messaging.message import Consumer, TopologyConflictError, TransportDownError, UnroutableError
from shared.messaging.properties import tolerate_any_properties
from shared.messaging.queue_consumer import CONNECTION_ERRORS, QueueConsumer
from shared.messaging.signature import HEADER, Signer
from shared.messaging.topology import DEFAULT, EVENTS, QUEUES, dead, declare
from shared.observability import traces

log = structlog.get_logger(__name__)

CONFIRM_TIMEOUT = 10.0
"""Seconds that the broker has to confirm a message."""
CONNECT_TIMEOUT = 5.0
"""Seconds that one try to connect may take."""
CONNECT_FIRST, CONNECT_MAX = 0.2, 5.0
"""Seconds between tries to connect: doubling from the first to the last, with jitter."""


class RabbitTransport:
    """This process's one connection to the broker, for both directions. Comes back by itself after an outage."""

    def __init__(
        self, url: str, *, grace: float, signing_key: str = "", on_state: Callable[[bool], None] = lambda _: None
    ) -> None:
        tolerate_any_properties()
        self.up = False
        self._signer = Signer(signing_key)
        self._on_state = on_state
        self._grace = grace
        self.queue_consumers: list[QueueConsumer] = []
        self._channel: AbstractChannel | None = None
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
        self.queue_consumers.append(
            QueueConsumer(queue, consumer, concurrency=concurrency, dead_letter=self.dead_letter, signer=self._signer)
        )

    async def start(self) -> None:
        """Connect, declare the topology and begin to consume; waits for a broker that is away.

        Raises TopologyConflictError where the broker has something of the name that differs: waiting would not help.
        """
        pause = CONNECT_FIRST
        while True:
            try:
                await self._connect()
                self._channel = await declare(self._broker)
                for queue_consumer in self.queue_consumers:
                    await queue_consumer.start(await self._broker.connect())
            except ChannelPreconditionFailed as error:
                raise TopologyConflictError(str(error)) from error
            except CONNECTION_ERRORS as error:
                if pause == CONNECT_FIRST:
                    log.warning("broker_unreachable", error=type(error).__name__)
                    self._on_state(False)
                with contextlib.suppress(Exception):
                    await self._broker.stop()
                await jittered_sleep(pause)
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
        await asyncio.gather(*(queue_consumer.stop(self._grace) for queue_consumer in self.queue_consumers))

    async def close(self) -> None:
        """Close the connection; what was not acknowledged is delivered again."""
        with contextlib.suppress(*CONNECTION_ERRORS):
            await self._broker.stop()

    async def send(self, row: OutboxRow) -> None:
        """Publish a row's event; wait until the broker has it on disk. Raises UnroutableError, TransportDownError."""
        if not self.up:
            raise TransportDownError("the broker is away")
        event = row.event
        body = encode(event)
        to_exchange = row.target == EXCHANGE
        with traces.send(event, row.target or EVENTS.name, row.traceparent):
            headers = {
                "schema_version": event.schema_version,
                "causation_id": row.causation_id,
                "traceparent": traces.current(row.traceparent),
                HEADER: self._signer.sign(body),
            }
            await self._publish(
                body,
                EVENTS.name if to_exchange else DEFAULT.name,
                routing_key(type(event)) if to_exchange else row.target,
                message_id=event.message_id,
                correlation_id=event.correlation_id,
                message_type=type(event).__name__,
                timestamp=event.occurred_at,
                headers={name: value for name, value in headers.items() if value is not None},
            )

    async def dead_letter(self, queue: str, message: AbstractIncomingMessage, reason: str) -> None:
        """Move a message to the queue's dead letters with the reason, and otherwise as it came, as far as that can be.

        Raises UnroutableError, TransportDownError.
        """
        await self._publish(
            message.body,
            DEFAULT.name,
            dead(queue),
            message_id=message.message_id,
            correlation_id=message.correlation_id,
            message_type=message.type,
            timestamp=message.timestamp,
            headers={
                **kept_headers(message),
                REASON: reason,
                "x-queue": queue,
                "x-routing-key": message.routing_key or "",
                DEAD_LETTERED_AT: utc_now().isoformat(),
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
        except CONNECTION_ERRORS as error:
            raise TransportDownError(f"not counted: {type(error).__name__}") from error
        return {queue: letters.declaration_result.message_count or 0 for queue, letters in found.items()}

    async def _publish(self, body: bytes, exchange: str, key: str, **properties: Any) -> None:
        """Publish on the channel below aio-pika's: it would have each message wait for the one before to be written."""
        if self._channel is None or self._channel.is_closed:
            raise TransportDownError("the broker is away")
        try:
            channel = cast("UnderlayChannel", await self._channel.get_underlay_channel())
            await channel.basic_publish(
                body,
                exchange=exchange,
                routing_key=key,
                properties=spec.Basic.Properties(
                    delivery_mode=DeliveryMode.PERSISTENT, content_type="application/json", **properties
                ),
                mandatory=True,
                timeout=CONFIRM_TIMEOUT,
                wait=False,
            )
        except PublishError as error:
            raise UnroutableError(f"no queue is bound for {key!r}") from error
        except (DeliveryError, *CONNECTION_ERRORS) as error:
            raise TransportDownError(f"not confirmed: {type(error).__name__}") from error

    def _lost(self, *_: object) -> None:
        self._set(up=False)

    def _back(self, *_: object) -> None:
        self._set(up=True)

    def _set(self, *, up: bool) -> None:
        if up is not self.up:
            self.up = up
            log.info("broker_connected") if up else log.warning("broker_disconnected")
            self._on_state(up)
