"""Sends recorded events again, late and in any order, as a broker or a crashed publisher might."""

import random

import aio_pika
import psycopg
from aio_pika.exceptions import AMQPError

from contracts.events import Event, decode, encode, routing_key
from shared.messaging.signature import HEADER, Signer
from shared.messaging.topology import EVENTS
from shared.upload.saga import ROUTES
from tests.stack import SIGNING_KEY


class Echo:
    """Takes events that somebody listens to from the store, and publishes them as the relay would."""

    def __init__(self, database_url: str, amqp_url: str) -> None:
        self._database_url = database_url
        self._amqp_url = amqp_url

    async def send_again(self, chance: random.Random, *, number: int = 40) -> int:
        """Publish some of the latest events again, shuffled. Returns how many; none while a server is away."""
        try:
            async with await psycopg.AsyncConnection.connect(self._database_url, connect_timeout=2) as conn:
                curs = await conn.execute("SELECT state FROM upload_events ORDER BY notification_id DESC LIMIT 400")
                events = [decode(bytes(state)) for (state,) in await curs.fetchall()]
            wanted = [event for event in events if ROUTES[type(event)]]
            chosen = chance.choices(wanted, k=min(number, len(wanted)))
            connection = await aio_pika.connect(self._amqp_url, timeout=3)
            async with connection, connection.channel() as channel:
                exchange = await channel.get_exchange(EVENTS.name, ensure=False)
                for event in chosen:
                    await exchange.publish(_message(event), routing_key=routing_key(type(event)), timeout=3)
        except (psycopg.Error, AMQPError, ConnectionError, OSError, TimeoutError):
            return 0
        return len(chosen)


def _message(event: Event) -> aio_pika.Message:
    body = encode(event)
    return aio_pika.Message(
        body,
        headers={HEADER: Signer(SIGNING_KEY).sign(body)},
        message_id=event.message_id,
        correlation_id=event.correlation_id,
        type=type(event).__name__,
        timestamp=event.occurred_at,
        delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
        content_type="application/json",
    )
