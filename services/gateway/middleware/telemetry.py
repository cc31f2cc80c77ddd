"""Every request counted, timed and traced: around the whole application, so that what no route answers is seen too."""

import functools
import time
from collections.abc import Callable, Iterable
from typing import Annotated

from litestar import Response, get
from litestar.enums import ScopeType
from litestar.params import HeaderParameter
from litestar.types import ASGIApp, HTTPScope, Message, Receive, Scope, Send

from shared.observability import traces
from shared.observability.health_server import exposition
from shared.observability.metrics import EVENT_STREAMS, HTTP_REQUESTS, HTTP_SECONDS, START_SECONDS

START = ("POST", "/api/process", 202)
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
"""A client may send any word as a method; each would be a series of its own."""
NO_ROUTE = "none"
GONE = 499
"""Counted where a client went away before it was answered; nginx calls it so too."""
UNTRACED = ("/health/", "/metrics")


@get("/metrics", include_in_schema=False, sync_to_thread=True)
def get_metrics(accept: Annotated[str, HeaderParameter(name="Accept", required=False)] = "") -> Response[bytes]:
    """Return this process's metrics."""
    content_type, body = exposition(accept)
    return Response(body, media_type=content_type)


def with_telemetry(app: ASGIApp) -> ASGIApp:
    """Watch an application."""

    async def watching(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP:
            await app(scope, receive, send)
        elif scope["path"].startswith(UNTRACED):
            await _Request(scope).through(app, receive, send)
        else:
            with traces.request(scope["method"], _header(scope["headers"], b"traceparent")):
                await _Request(scope).through(app, receive, send)

    return watching


class _Request:
    """One request. Its time is that to the head of the answer: a stream's body may take hours."""

    def __init__(self, scope: HTTPScope) -> None:
        self._scope = scope
        self._method = scope["method"] if scope["method"] in METHODS else "OTHER"
        self._began = time.perf_counter()
        self._answered = self._streams = False

    async def through(self, app: ASGIApp, receive: Receive, send: Send) -> None:
        """Put the request through the application."""

        async def telling(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._tell(message["status"])
                self._streams = (_header(message["headers"], b"content-type") or "").startswith("text/event-stream")
                if self._streams:
                    EVENT_STREAMS.inc()
            await send(message)

        try:
            await app(self._scope, receive, telling)
        finally:
            if self._streams:
                EVENT_STREAMS.dec()
            if not self._answered:
                self._tell(GONE)

    def _tell(self, status: int) -> None:
        self._answered = True
        took = time.perf_counter() - self._began
        # Litestar's own: there once it has found the route.
        route = str(self._scope.get("path_template") or NO_ROUTE)
        count, observe = _counting(self._method, route, status)
        count()
        observe(took)
        if (self._method, route, status) == START:
            START_SECONDS.observe(took)
        traces.answered(self._method, route, status)


@functools.cache
def _counting(method: str, route: str, status: int) -> tuple[Callable[[], None], Callable[[float], None]]:
    """Return what counts and times a kind of answer: to look that up by labels takes longer than to count."""
    return HTTP_REQUESTS.labels(method, route, status).inc, HTTP_SECONDS.labels(method, route).observe


def _header(headers: Iterable[tuple[bytes, bytes]], name: bytes) -> str | None:
    return next((value.decode("latin-1") for key, value in headers if key.lower() == name), None)
