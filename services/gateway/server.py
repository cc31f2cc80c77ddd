"""granian around the application: its time limits, room for many streams, an end that lets answers finish."""

import asyncio
import contextlib
from collections.abc import Callable

import structlog
from granian.constants import HTTPModes, Interfaces
from granian.http import HTTP1Settings
from granian.server.embed import Server
from litestar.types import ASGIApp

from shared.settings import Process

log = structlog.get_logger(__name__)

HEADER_TIMEOUT_MS = 10_000
"""Milliseconds that a client has to send its request's headers, and that an idle connection is kept."""
REQUESTS = 16_384
"""Requests under way at a time, streams among them; granian's own limit is a few hundred."""
FILES_WANTED = 20_000
"""Open files, of which each connection is one; the usual limit of 1,024 would be the number of streams."""


async def serve(app: ASGIApp, process: Process, *, on_stop: Callable[[], None]) -> None:
    """Serve until cancelled; then call `on_stop`, and let what is under way finish within half the grace period."""
    _allow_many_files()
    server = Server(
        app,
        address=process.host,
        port=process.port,
        # Without HTTP/2 there is nothing to detect, so the header limit holds from the first byte on.
        http=HTTPModes.http1,
        interface=Interfaces.ASGINL,
        websockets=False,
        log_enabled=False,
        backlog=1024,
        backpressure=REQUESTS,
        http1_settings=HTTP1Settings(header_read_timeout=HEADER_TIMEOUT_MS),
    )
    serving = asyncio.ensure_future(server.serve())
    try:
        await asyncio.shield(serving)
    except asyncio.CancelledError:
        on_stop()
        server.stop()  # type: ignore[no-untyped-call]
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(serving, process.grace_period / 2)
        raise


def _allow_many_files() -> None:
    try:
        import resource  # noqa: PLC0415 — not on every platform
    except ImportError:
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = FILES_WANTED if hard == resource.RLIM_INFINITY else min(FILES_WANTED, hard)
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
