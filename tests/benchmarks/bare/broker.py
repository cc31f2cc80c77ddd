"""The floor of the messaging: one quorum queue, plain aio-pika, messages of an event's size."""

import asyncio
import time
from collections.abc import Awaitable, Callable

import aio_pika
from aio_pika.abc import AbstractChannel, AbstractIncomingMessage, AbstractQueue

BODY = b"x" * 400
"""About an event's JSON."""
PREFETCH = 32


async def rates(url: str, number: int, *, in_flight: int) -> tuple[float, float]:
    """Publish with confirms, then consume and acknowledge; give messages a second of each."""
    async with await aio_pika.connect(url) as connection:
        channel, queue = await _queue(connection)
        waiting = iter(range(number))

        async def keep_publishing() -> None:
            for _ in waiting:
                await publish(channel, queue.name)

        began = time.perf_counter()
        await asyncio.gather(*(keep_publishing() for _ in range(in_flight)))
        confirmed = number / (time.perf_counter() - began)
        left, done = [number], asyncio.Event()

        async def consume(message: AbstractIncomingMessage) -> None:
            await message.ack()
            left[0] -= 1
            if not left[0]:
                done.set()

        began = time.perf_counter()
        consumer = await queue.consume(consume)
        await done.wait()
        consumed = number / (time.perf_counter() - began)
        await queue.cancel(consumer)
        await queue.delete(if_empty=False, if_unused=False)
        return confirmed, consumed


async def hop_latencies(url: str, number: int) -> list[float]:
    """Publish one message at a time; return the seconds until each reached its consumer."""
    taken: list[float] = []
    async with await aio_pika.connect(url) as connection:
        channel, queue = await _queue(connection)
        arrived = asyncio.Event()
        consumer = await queue.consume(_arrival(arrived))
        for _ in range(number):
            arrived.clear()
            began = time.perf_counter()
            confirmed = asyncio.ensure_future(publish(channel, queue.name))
            await arrived.wait()
            taken.append(time.perf_counter() - began)
            await confirmed
        await queue.cancel(consumer)
        await queue.delete(if_empty=False, if_unused=False)
    return taken


async def publish(channel: AbstractChannel, queue: str) -> None:
    message = aio_pika.Message(BODY, delivery_mode=aio_pika.DeliveryMode.PERSISTENT)
    await channel.default_exchange.publish(message, queue, mandatory=True)


def _arrival(arrived: asyncio.Event) -> Callable[[AbstractIncomingMessage], Awaitable[None]]:
    async def arrival(message: AbstractIncomingMessage) -> None:
        arrived.set()
        await message.ack()

    return arrival


async def _queue(connection: aio_pika.abc.AbstractConnection) -> tuple[AbstractChannel, AbstractQueue]:
    channel = await connection.channel(publisher_confirms=True, on_return_raises=True)
    await channel.set_qos(PREFETCH)
    arguments = {"x-queue-type": "quorum"}
    return channel, await channel.declare_queue("bare", durable=True, arguments=arguments)
