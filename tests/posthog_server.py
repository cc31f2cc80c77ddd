"""A small HTTP server that speaks PostHog's capture endpoint, and can be told to be down."""

import contextlib
import gzip
import json
from collections.abc import AsyncIterator
from typing import Any

from aiohttp import web


class PosthogServer:
    """Keeps every event it was sent, repetitions included. `status` is what it answers."""

    def __init__(self) -> None:
        self.url = ""
        self.status = 200
        self.received: list[dict[str, Any]] = []

    def unique(self) -> list[dict[str, Any]]:
        """Return what PostHog would keep: one event a uuid."""
        return list({event["uuid"]: event for event in self.received}.values())

    async def batch(self, request: web.Request) -> web.Response:
        body = await request.read()
        if request.headers.get("Content-Encoding") == "gzip" and body[:2] == b"\x1f\x8b":
            body = gzip.decompress(body)
        if self.status == 200:
            self.received += json.loads(body)["batch"]
        return web.json_response({"status": "Ok"}, status=self.status)


@contextlib.asynccontextmanager
async def serving() -> AsyncIterator[PosthogServer]:
    """Serve on a free port of this machine."""
    server = PosthogServer()
    app = web.Application()
    app.router.add_post("/batch/", server.batch)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    server.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield server
    finally:
        await runner.cleanup()
