"""Dead letters as operators handle them: look, put back, throw away. Plain AMQP, so that no plugin is needed.

A look takes messages and gives them back by closing its channel. Quorum queues count that as a delivery (RabbitMQ 4.3
excepted), so the dead-letter queues have a delivery limit that no amount of looking reaches: see `topology.dead_queue`.
"""

import contextlib
from collections import Counter
from collections.abc import AsyncIterator

import aio_pika
from aio_pika.abc import AbstractChannel, AbstractConnection, AbstractQueue
from aio_pika.exceptions import AMQPError, ChannelNotFoundEntity, DeliveryError, PublishError

from contracts.ops import DeadQueue
from shared.messaging.dead_letter import DeadLetter, read_dead_letter, without_death_headers
from shared.messaging.message import TransportDownError
from shared.messaging.properties import tolerate_any_properties
from shared.messaging.topology import QUEUES, dead

CONNECT_TIMEOUT = 5.0
"""Seconds that the broker has to answer."""
CONFIRM_TIMEOUT = 10.0
"""Seconds that the broker has to confirm a message that is put back."""
MAX_INSPECTED = 200
"""Messages a queue that are looked at for their reasons and ages; the count is of all."""


class UnknownQueueError(Exception):
    """No stage has a queue of this name."""

    def __init__(self, name: str) -> None:
        super().__init__(f"there is no queue {name!r}; there are {', '.join(QUEUES)}")


class DeadLetters:
    """The dead letters of all queues, over one connection. Methods raise UnknownQueueError, TransportDownError."""

    def __init__(self, connection: AbstractConnection) -> None:
        self._connection = connection

    async def overview(self, queue: str | None = None) -> list[DeadQueue]:
        """Count the dead letters of every queue, or of one."""
        found = []
        for name in named(queue):
            async with self._channel() as channel:
                dead_queue = await _passive(channel, name)
                count = dead_queue.declaration_result.message_count or 0 if dead_queue else 0
                letters = await _inspect(dead_queue, name, min(count, MAX_INSPECTED), 0) if dead_queue else []
            since = [letter.since for letter in letters if letter.since]
            reasons = Counter(letter.reason for letter in letters)
            found.append(DeadQueue(queue=name, messages=count, oldest=min(since, default=None), reasons=dict(reasons)))
        return found

    async def show(self, queue: str | None, *, limit: int, body_length: int = 500) -> list[DeadLetter]:
        """Look at up to `limit` dead letters of every queue, or of one, the oldest first. They stay where they are."""
        found: list[DeadLetter] = []
        for name in named(queue):
            async with self._channel() as channel:
                if (dead_queue := await _passive(channel, name)) is not None:
                    found += await _inspect(dead_queue, name, limit - len(found), body_length)
        return found

    async def redrive(self, queue: str | None, *, limit: int | None = None) -> dict[str, int]:
        """Put up to `limit` dead letters back into the queues that they died in, and count them by queue.

        Each is published and confirmed before it is taken away; a crash in between leaves it in both, and a stage that
        gets it twice does its work once. One that dies again meanwhile is not put back a second time.
        """
        counts: dict[str, int] = {}
        for name in named(queue):
            left = None if limit is None else limit - sum(counts.values())
            async with self._channel() as channel:
                if (dead_queue := await _passive(channel, name)) is not None:
                    counts[name] = await _redrive(channel, dead_queue, name, left)
        return counts

    async def purge(self, queue: str | None) -> dict[str, int]:
        """Throw dead letters away, of every queue or of one, and count them by queue."""
        counts: dict[str, int] = {}
        for name in named(queue):
            async with self._channel() as channel:
                if (dead_queue := await _passive(channel, name)) is not None:
                    counts[name] = (await dead_queue.purge()).message_count or 0
        return counts

    @contextlib.asynccontextmanager
    async def _channel(self) -> AsyncIterator[AbstractChannel]:
        try:
            channel = await self._connection.channel(publisher_confirms=True, on_return_raises=True)
            try:
                yield channel
            finally:
                with contextlib.suppress(AMQPError, ConnectionError, RuntimeError):
                    await channel.close()
        except (AMQPError, ConnectionError, OSError, TimeoutError) as error:
            raise TransportDownError(f"the broker did not answer: {error!r}") from error


@contextlib.asynccontextmanager
async def open_dead_letters(amqp_url: str) -> AsyncIterator[DeadLetters]:
    """Connect for a command. Raises TransportDownError."""
    tolerate_any_properties()
    try:
        connection = await aio_pika.connect(amqp_url, timeout=CONNECT_TIMEOUT)
    except (AMQPError, ConnectionError, OSError, TimeoutError) as error:
        raise TransportDownError(f"the broker cannot be reached: {type(error).__name__}") from error
    async with connection:
        yield DeadLetters(connection)


def named(queue: str | None) -> tuple[str, ...]:
    """Return the queue that its name or its dead-letter queue's means; all without one. Raises UnknownQueueError."""
    if queue is None:
        return QUEUES
    for name in QUEUES:
        if queue in (name, dead(name)):
            return (name,)
    raise UnknownQueueError(queue)


async def _passive(channel: AbstractChannel, name: str) -> AbstractQueue | None:
    """Find a dead-letter queue; None where nobody has declared it yet."""
    try:
        return await channel.declare_queue(dead(name), passive=True)
    except ChannelNotFoundEntity:
        return None


async def _inspect(dead_queue: AbstractQueue, name: str, limit: int, body_length: int) -> list[DeadLetter]:
    """Take messages without acknowledging them; they go back, in their order, when the channel closes."""
    letters: list[DeadLetter] = []
    while len(letters) < limit:
        message = await dead_queue.get(fail=False)
        if message is None:
            break
        letters.append(read_dead_letter(message, name, body_length))
    return letters


async def _redrive(channel: AbstractChannel, dead_queue: AbstractQueue, name: str, limit: int | None) -> int:
    there = dead_queue.declaration_result.message_count or 0
    number = 0
    while number < (there if limit is None else min(limit, there)):
        message = await dead_queue.get(fail=False)
        if message is None:
            break
        try:
            await channel.default_exchange.publish(
                without_death_headers(message), name, mandatory=True, timeout=CONFIRM_TIMEOUT
            )
        except PublishError as error:
            raise TransportDownError(f"{number} were put back, then queue {name} was not there") from error
        except DeliveryError as error:
            raise TransportDownError(f"{number} were put back, then queue {name} took no more") from error
        await message.ack()
        number += 1
    return number
