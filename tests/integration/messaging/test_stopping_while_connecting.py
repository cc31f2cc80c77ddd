"""A process told to stop while it connects to the broker leaves nothing running that would keep it from ending."""

import asyncio
import contextlib

import pytest

from shared.messaging import rabbit_transport
from shared.messaging.rabbit_transport import RabbitTransport


async def left_over():
    """Cancel what runs beside the test, as the end of a program does, and return what does not end."""
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    return (await asyncio.wait(others, timeout=5))[1] if others else set()


@contextlib.asynccontextmanager
async def a_deaf_broker():
    """Take connections, and never say a word."""
    taken = asyncio.Event()

    async def serve(reader, writer):
        taken.set()
        with contextlib.suppress(OSError, asyncio.CancelledError):
            await reader.read()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"amqp://guest:guest@127.0.0.1:{server.sockets[0].getsockname()[1]}/", taken


async def test_nothing_outlives_a_start_that_was_cancelled_while_the_broker_says_nothing(monkeypatch):
    monkeypatch.setattr(rabbit_transport, "CONNECT_TIMEOUT", 0.2)
    async with a_deaf_broker() as (url, taken):
        transport = RabbitTransport(url, grace=1)
        starting = asyncio.create_task(transport.start())
        await taken.wait()
        for _ in range(3):  # More than once, as a process does that is in a hurry.
            starting.cancel()
            await asyncio.sleep(0.01)
        assert not starting.done()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(starting, 5)
        await asyncio.wait_for(transport.close(), 5)
        assert await left_over() == set()


@pytest.mark.parametrize("step", range(0, 40, 4))
async def test_nothing_outlives_a_start_that_was_cancelled_on_its_way(amqp_url, step):
    transport = RabbitTransport(amqp_url, grace=1)
    starting = asyncio.create_task(transport.start())
    for _ in range(step):
        await asyncio.sleep(0.002)
    starting.cancel()
    await asyncio.gather(starting, return_exceptions=True)
    await asyncio.wait_for(transport.stop_consuming(), 5)
    await asyncio.wait_for(transport.close(), 5)
    assert await left_over() == set()
