"""`darkroom dev`: the whole product in one process, embedded: nothing to install or configure."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import click
import structlog
from msgspec.structs import replace

from services.cli.console import database_of
from services.cli.processes.serve import attach, public_url
from shared.bootstrap import embedded_runtime, stop_on_signals
from shared.database.migrate import migrate
from shared.settings import Settings
from shared.upload.saga import SERVICES

log = structlog.get_logger(__name__)

EMBEDDED = tuple(name for name in SERVICES if name != "dispatcher")
"""The embedded process is its own dispatcher."""


async def dev(settings: Settings, data_dir: Path) -> None:
    """Run until SIGTERM or SIGINT. What a run before left unfinished is finished."""
    stop = asyncio.Event()
    stop_on_signals(stop)
    async with embedded_product(settings, data_dir, stop=stop) as url:
        for warning in settings.warnings:
            log.debug("setting_warning", why=warning)
        click.echo(f"darkroom is at {url}   (Ctrl-C stops it; its data is in {data_dir})")
        await stop.wait()


@contextlib.asynccontextmanager
async def embedded_product(settings: Settings, data_dir: Path, *, stop: asyncio.Event) -> AsyncIterator[str]:
    """Bring the product up in this process and return its URL; setting `stop`, or leaving, takes it down.

    Raises whatever keeps it from running, and ClickException where there is no database to be had.
    """
    loop = asyncio.get_running_loop()
    if not settings.database.database_url:
        url = await loop.run_in_executor(None, database_of, data_dir)
        settings = replace(settings, database=replace(settings.database, database_url=url))
    await loop.run_in_executor(None, migrate, settings.database.database_url)
    runtime = embedded_runtime(settings, public_url=public_url(settings))
    attach(runtime, EMBEDDED)
    running = asyncio.create_task(runtime.run(stop))
    try:
        await _answering(settings.process.host, settings.process.port, running)
        yield public_url(settings)
    finally:
        stop.set()
        await running


async def _answering(host: str, port: int, running: asyncio.Task[None]) -> None:
    """Wait until the gateway takes connections; raise what ended it where it never will."""
    while not running.done():
        with contextlib.suppress(OSError), socket.create_connection((host, port), timeout=1):
            return
        await asyncio.sleep(0.02)
    running.result()
