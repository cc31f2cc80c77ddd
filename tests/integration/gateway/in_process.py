"""The gateway's real server in the test's own process and loop, so that a test may shorten its patience."""

import asyncio
import contextlib
import socket

from msgspec.structs import replace

from services.gateway import app as gateway_app
from shared.bootstrap import embedded_runtime
from shared.settings import load
from tests.servers import free_port


async def send(port, *pieces):
    """Open a connection and send what is given; return the connection's two ends."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for piece in pieces:
        writer.write(piece)
        await writer.drain()
    return reader, writer


@contextlib.asynccontextmanager
async def a_served_gateway(folder, database_url, **environ):
    """Serve until the context ends; return the runtime and the port."""
    port = free_port()
    settings = load({"DATABASE_URL": database_url, **environ}, data_dir=folder)
    settings = replace(settings, process=replace(settings.process, port=port, grace_period=10.0))
    runtime = embedded_runtime(settings, public_url=f"http://127.0.0.1:{port}")
    gateway_app.attach(runtime)
    stop = asyncio.Event()
    running = asyncio.create_task(runtime.run(stop))
    try:
        await _answering(port, running)
        yield runtime, port
    finally:
        stop.set()
        await running


async def _answering(port, running):
    async with asyncio.timeout(10):
        while not running.done():
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                return
            await asyncio.sleep(0.02)
    running.result()
