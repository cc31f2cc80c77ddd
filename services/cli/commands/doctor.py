"""`darkroom doctor`: is the configuration whole, and does everything answer? Says what is wrong, and what to do."""

import asyncio
from collections.abc import Awaitable, Callable

import aio_pika
import psycopg
from rich.console import Console

from services.cli.processes.serve import public_url
from shared.database.migrate import pending
from shared.settings import Settings
from shared.storage.open import open_configured_store

PATIENCE = 5.0
"""Seconds that each part has to answer."""


async def doctor(settings: Settings) -> int:
    """Check every part and print a line for each. Returns the exit status: 1 where a part does not answer."""
    console = Console()
    checks: list[tuple[str, Callable[[Settings], Awaitable[str]]]] = [
        ("database", _database),
        ("broker", _broker),
        ("object store", _objects),
        ("generator", _generator),
    ]
    well = True
    for name, check in checks:
        try:
            console.print(f"[green]✓[/] {name}: {await asyncio.wait_for(check(settings), PATIENCE)}", highlight=False)
        except Exception as error:  # noqa: BLE001 — whatever it is, it is what the person asked to be told
            well = False
            console.print(f"[red]✗[/] {name}: {_said(error)}", highlight=False)
    for warning in settings.warnings:
        console.print(f"[yellow]![/] {warning}; fine for development", highlight=False)
    return 0 if well else 1


async def _database(settings: Settings) -> str:
    url = settings.database.database_url
    if not url:
        return "none set; `darkroom dev` brings its own"
    async with await psycopg.AsyncConnection.connect(url, connect_timeout=int(PATIENCE)) as conn:
        version = conn.info.server_version // 10000
    missing = await asyncio.to_thread(pending, url)
    if missing:
        raise RuntimeError(f"PostgreSQL {version} answers, but lacks {', '.join(missing)}: run `darkroom migrate`")
    return f"PostgreSQL {version}, schema up to date"


async def _broker(settings: Settings) -> str:
    url = settings.broker.amqp_url
    if not url:
        return "none set; `darkroom dev` does without"
    connection = await aio_pika.connect(url, timeout=PATIENCE)
    async with connection:
        properties = getattr(getattr(connection.transport, "connection", None), "server_properties", {})
    return f"RabbitMQ {properties.get('version', '')}".strip()


async def _objects(settings: Settings) -> str:
    store = open_configured_store(settings.objects, public_base_url=public_url(settings))
    try:
        await store.ping()
    finally:
        await store.close()
    return settings.objects.object_store_url


async def _generator(settings: Settings) -> str:
    generator = settings.generator
    if generator.generator == "local":
        return "local stand-in, no AI"
    return f"{generator.generator}, model {generator.gemini_model} (not called: a call costs money)"


def _said(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
