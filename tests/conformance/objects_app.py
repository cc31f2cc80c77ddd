"""`/objects/{key}` over a local store, as the gateway serves it: the other half of the local store's signed URLs."""

import contextlib
import socket
from collections.abc import AsyncIterator
from pathlib import Path

from aiohttp import web

from shared.storage.disposition import content_disposition
from shared.storage.local import LocalObjectStore
from shared.storage.signing import BadSignatureError


@contextlib.asynccontextmanager
async def serving(root: Path) -> AsyncIterator[str]:
    """Serve the store under `root` on a free port and return the base URL."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        base_url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        runner = web.AppRunner(_app(LocalObjectStore(root, base_url)))
        await runner.setup()
        try:
            await web.SockSite(runner, listener).start()
            yield base_url
        finally:
            await runner.cleanup()


def _app(store: LocalObjectStore) -> web.Application:
    async def read(request: web.Request) -> web.StreamResponse:
        key = request.match_info["key"]
        try:
            download_as = store.verify_get(key, request.query)
        except BadSignatureError:
            return web.Response(status=403)
        info = await store.head(key)
        if info is None:
            return web.Response(status=404)
        headers = {"Content-Type": info.content_type}
        if download_as is not None:
            headers["Content-Disposition"] = content_disposition(download_as)
        return web.FileResponse(store.open_path(key), headers=headers)

    async def write(request: web.Request) -> web.Response:
        key = request.match_info["key"]
        content_type, size_bytes = request.headers.get("Content-Type", ""), request.content_length or 0
        try:
            store.verify_put(key, request.query, content_type=content_type, size_bytes=size_bytes)
        except BadSignatureError:
            return web.Response(status=403)
        await store.put(key, await request.read(), content_type)
        return web.Response()

    app = web.Application()
    app.add_routes([web.get("/objects/{key:.+}", read), web.put("/objects/{key:.+}", write)])
    return app
