"""A cheap HTTP client, because it shares the machine with what it measures.

It sends ready-made bytes and parses no more of an answer than its status and its length.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Self

_END_OF_HEAD = b"\r\n\r\n"
_LENGTH = b"content-length:"
_WITHOUT_BODY = {204, 304}


def request(method: str, path: str, body: bytes = b"", **headers: str) -> bytes:
    """Return a request's bytes; `X_Session_Token="…"` becomes the header X-Session-Token."""
    lines = [f"{method} {path} HTTP/1.1", "Host: darkroom"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    if body:
        lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
    return "\r\n".join(lines).encode() + _END_OF_HEAD + body


class Connection(asyncio.Protocol):
    """One kept-alive connection, one request at a time."""

    def __init__(self) -> None:
        self._buffer = b""
        self._answer: asyncio.Future[int] | None = None
        self._transport: asyncio.WriteTransport | None = None

    @classmethod
    async def open(cls, port: int) -> Self:
        _, connection = await asyncio.get_running_loop().create_connection(cls, "127.0.0.1", port)
        return connection

    def call(self, message: bytes) -> asyncio.Future[int]:
        """Send a request; the future gives the answer's status once the whole answer is here."""
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(message)
        return self._answer

    def close(self) -> None:
        self._transport.close()

    def connection_made(self, transport):
        self._transport = transport

    def connection_lost(self, exc):
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(exc or ConnectionError("the server hung up"))

    def data_received(self, data):
        self._buffer += data
        head_end = self._buffer.find(_END_OF_HEAD)
        if head_end < 0:
            return
        status = int(self._buffer[9:12])
        expected = 0
        if status not in _WITHOUT_BODY:
            head = self._buffer[:head_end].lower()
            at = head.index(_LENGTH) + len(_LENGTH)
            expected = int(head[at:].partition(b"\r")[0])
        if len(self._buffer) >= head_end + len(_END_OF_HEAD) + expected:
            self._buffer = b""
            self._answer.set_result(status)


class Driven:
    """What a drive gave: each answer's seconds, and how long it all took."""

    def __init__(self, latencies: list[float], seconds: float) -> None:
        self.latencies = latencies
        self.seconds = seconds

    @property
    def rate(self) -> float:
        return len(self.latencies) / self.seconds


async def drive(port: int, requests: Sequence[bytes], *, in_flight: int, expect: int) -> Driven:
    """Send all requests over `in_flight` connections, each as soon as the one before is answered.

    Raises RuntimeError where an answer has another status than `expect`: a fast refusal is no figure.
    """
    connections = await asyncio.gather(*(Connection.open(port) for _ in range(in_flight)))
    waiting, latencies, statuses = iter(requests), [], Counter()

    async def keep_calling(connection: Connection, messages: Iterable[bytes]) -> None:
        for message in messages:
            began = time.perf_counter()
            statuses[await connection.call(message)] += 1
            latencies.append(time.perf_counter() - began)

    began = time.perf_counter()
    await asyncio.gather(*(keep_calling(connection, waiting) for connection in connections))
    seconds = time.perf_counter() - began
    for connection in connections:
        connection.close()
    if set(statuses) != {expect}:
        raise RuntimeError(f"expected only {expect}, got {dict(statuses)}")
    return Driven(latencies, seconds)
