"""/health/live, /health/ready and /metrics for a process that serves no HTTP of its own.

On the process's own event loop, because that is what an answer is to prove: a thread would answer for a stuck one.
"""

import asyncio
import contextlib
from http import HTTPStatus

import msgspec
from prometheus_client import REGISTRY
from prometheus_client.exposition import choose_encoder

from shared.observability.readiness import Readiness

HEAD_TIMEOUT = 5.0
"""Seconds that a caller has to send its request and to take the answer."""
HEAD_BYTES = 16 * 1024

Answer = tuple[HTTPStatus, str, bytes]


class HealthServer:
    """Answers one request a connection."""

    def __init__(self, readiness: Readiness, host: str, port: int) -> None:
        self._readiness = readiness
        self._host = host
        self._port = port

    async def run(self) -> None:
        """Serve until cancelled. Raises OSError where the port cannot be had."""
        server = await asyncio.start_server(self._serve, self._host, self._port, limit=HEAD_BYTES)
        async with server:
            await server.serve_forever()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, EOFError, TimeoutError, asyncio.LimitOverrunError):
            async with asyncio.timeout(HEAD_TIMEOUT):
                head = await reader.readuntil(b"\r\n\r\n")
                writer.write(_http(head, *self._answer(head)))
                await writer.drain()
        writer.close()

    def _answer(self, head: bytes) -> Answer:
        method, _, rest = head.decode("latin-1").partition(" ")
        if method not in ("GET", "HEAD"):
            return _json(HTTPStatus.METHOD_NOT_ALLOWED, {"status": "only GET"})
        match rest.split(" ", 1)[0].partition("?")[0]:
            case "/health/live":
                return _json(HTTPStatus.OK, {"status": "ok"})
            case "/health/ready":
                ready = self._readiness.ready
                status = HTTPStatus.OK if ready else HTTPStatus.SERVICE_UNAVAILABLE
                return _json(status, {"status": "ok" if ready else "unavailable", **self._readiness.parts()})
            case "/metrics":
                content_type, body = exposition(_header(head, "accept"))
                return HTTPStatus.OK, content_type, body
            case _:
                return _json(HTTPStatus.NOT_FOUND, {"status": "no such page"})


def exposition(accept: str) -> tuple[str, bytes]:
    """Return this process's metrics in the format that `accept` asks for: their media type, and the text."""
    encode, content_type = choose_encoder(accept)
    return content_type, encode(REGISTRY)


def _json(status: HTTPStatus, content: dict[str, str]) -> Answer:
    return status, "application/json", msgspec.json.encode(content)


def _http(head: bytes, status: HTTPStatus, content_type: str, body: bytes) -> bytes:
    lines = (
        f"HTTP/1.1 {status.value} {status.phrase}",
        f"Content-Type: {content_type}",
        f"Content-Length: {len(body)}",
        "Connection: close",
    )
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + (b"" if head.startswith(b"HEAD ") else body)


def _header(head: bytes, name: str) -> str:
    for line in head.decode("latin-1").split("\r\n")[1:]:
        field, _, value = line.partition(":")
        if field.lower() == name:
            return value.strip()
    return ""
