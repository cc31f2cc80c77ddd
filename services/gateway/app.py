"""The gateway: HTTP in, events out. The only process that speaks to clients."""

from functools import partial

import uuid_utils.compat
from granian.constants import Interfaces
from granian.http import HTTP1Settings
from granian.server.embed import Server
from litestar import Litestar
from litestar.datastructures import MutableScopeHeaders
from litestar.enums import ScopeType
from litestar.openapi import OpenAPIConfig
from litestar.types import ASGIApp, Message, Receive, Scope, Send
from structlog.contextvars import bound_contextvars

from services.gateway.health import live, ready
from services.gateway.objects import get_object
from services.gateway.ops import ops_routes
from services.gateway.pages import page_routes
from services.gateway.parts import provided_by
from services.gateway.problems import problem_response
from services.gateway.process import retry_processing, start_processing
from services.gateway.results import get_result
from services.gateway.status import get_status
from services.gateway.uploads import create_upload
from shared.bootstrap import Runtime
from shared.storage.local import LocalObjectStore

JSON_BODY_BYTES = 64 * 1024
"""Largest body of a request that uploads nothing."""
HEADER_TIMEOUT_MS = 10_000
"""Milliseconds a client has to send its request's headers, so that a slow one holds no connection."""


def attach(runtime: Runtime) -> None:
    """Serve HTTP from this process."""
    process = runtime.settings.process
    runtime.attach_background(partial(_serve, create_app(runtime), process.host, process.port))


def create_app(runtime: Runtime) -> Litestar:
    """Build the ASGI application over a process's parts."""
    routes = [create_upload, start_processing, retry_processing, get_status, get_result, live, ready, *page_routes]
    if isinstance(runtime.objects, LocalObjectStore):
        routes.append(get_object)
    return Litestar(
        route_handlers=[*routes, ops_routes(runtime)],
        dependencies=provided_by(runtime),
        exception_handlers={Exception: problem_response},
        middleware=[request_id_middleware],
        request_max_body_size=JSON_BODY_BYTES,
        openapi_config=OpenAPIConfig(title="darkroom", version="1", path="/schema"),
        logging_config=None,
    )


def request_id_middleware(app: ASGIApp) -> ASGIApp:
    """Give every request an id, the caller's if it sent a sane one; it is in the answer, in problems and in the logs."""

    async def middleware(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP:
            await app(scope, receive, send)
            return
        request_id = _given_id(scope) or str(uuid_utils.compat.uuid7())
        scope["state"]["request_id"] = request_id

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableScopeHeaders(message)["X-Request-Id"] = request_id
            await send(message)

        with bound_contextvars(request_id=request_id):
            await app(scope, receive, send_with_id)

    return middleware


def _given_id(scope: Scope) -> str | None:
    for name, value in scope["headers"]:
        if name.lower() == b"x-request-id":
            text = value.decode("latin-1")
            return text if len(text) <= 64 and text.replace("-", "").isalnum() and text.isascii() else None
    return None


async def _serve(app: Litestar, host: str, port: int) -> None:
    server = Server(
        app,
        address=host,
        port=port,
        interface=Interfaces.ASGI,
        websockets=False,
        log_enabled=False,
        http1_settings=HTTP1Settings(header_read_timeout=HEADER_TIMEOUT_MS),
    )
    await server.serve()
