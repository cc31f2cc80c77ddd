"""Statuses from memory: an answer is given again where PostgreSQL says that its upload has not changed since.

Most readers come back before there is news. For them the row need not be read, nor the answer made, a second time: one
query asks for the versions of all uploads whose readers wait, and it begins after they came. So a reader never sees
less than was committed before it asked, however many gateways there are, and whichever of them it asks.
"""

import asyncio
import hashlib
import time
from collections.abc import Iterable
from typing import NamedTuple
from uuid import UUID

from litestar.enums import ScopeType
from litestar.types import ASGIApp, HTTPScope, Message, Receive, Scope, Send
from psycopg import OperationalError
from psycopg_pool import PoolTimeout

from services.gateway.http.entity_tags import knows, version_in
from shared.read_model.queries import UploadQueries

ROUTE = "/api/status/"
ID_LENGTH = 36
ORIGIN_LENGTH = 255
"""Bytes of an origin that is remembered: it is the client's to choose."""
KEPT = 60.0
"""Seconds that an answer is given again: the signed URL in it lives that much longer than is promised."""
ROOM = 8_192
"""Answers that a process remembers; each takes some 2 kB."""
WAIT = 0.25
"""Seconds that the database has to say that nothing changed; after them the request takes the usual way."""

_UNSAID = (OperationalError, PoolTimeout, TimeoutError)

Key = tuple[str, bytes, bytes | None]
"""What an answer depends on besides the upload's state: the path, the token's digest, and the page's origin."""
Head = list[tuple[bytes, bytes]]
_OF_BODY = frozenset({b"content-type", b"content-length"})


class Answer(NamedTuple):
    """A 200 as it was sent, or what of it went with a 304: then there is no body."""

    upload_id: UUID
    version: int
    head: Head
    body: bytes | None
    route: str
    until: float


def with_status_cache(app: ASGIApp, reads: UploadQueries) -> ASGIApp:
    """Answer what is known instead of the application, and take note of what it answers."""
    answers: dict[Key, Answer] = {}

    async def remembered(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP or (key := _key(scope)) is None:
            await app(scope, receive, send)
            return
        known = None if scope["query_string"] else answers.get(key)
        again = _again(known, _header(scope["headers"], b"if-none-match")) if known else None
        if known and again and await _holds(known, reads):
            scope["path_template"] = known.route
            for message in again:
                await send(message)
            return
        note = _Note(send)
        await app(scope, receive, note.send)
        if (answer := note.answer(scope)) is not None:
            answers.pop(key, None)  # so that the last one made stands last
            answers[key] = answer
            if len(answers) > ROOM:
                del answers[next(iter(answers))]

    return remembered


def _again(known: Answer, if_none_match: bytes | None) -> tuple[Message, Message] | None:
    """Return what is sent again, where that can be made of what is known."""
    if known.until < time.monotonic():
        return None
    if if_none_match is not None and knows(if_none_match.decode("latin-1"), known.version):
        return _messages(304, [header for header in known.head if header[0] not in _OF_BODY], b"")
    return None if known.body is None else _messages(200, known.head, known.body)


def _messages(status: int, head: Head, body: bytes) -> tuple[Message, Message]:
    return (
        {"type": "http.response.start", "status": status, "headers": head},
        {"type": "http.response.body", "body": body, "more_body": False},
    )


async def _holds(known: Answer, reads: UploadQueries) -> bool:
    """Ask whether the upload is still as it was answered; not to hear in time is a no."""
    try:
        async with asyncio.timeout(WAIT):
            return await reads.version(known.upload_id) == known.version
    except _UNSAID:
        return False


class _Note:
    """Looks on while the application answers."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._status = 0
        self._head: Head = []
        self._body = b""

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._status, self._head = message["status"], list(message["headers"])
        elif message["type"] == "http.response.body":
            self._body += message["body"]
        await self._send(message)

    def answer(self, scope: HTTPScope) -> Answer | None:
        """Return what was answered, if it was a status."""
        tag = _header(self._head, b"etag")
        if self._status not in {200, 304} or tag is None:
            return None
        return Answer(
            upload_id=UUID(scope["path"][-ID_LENGTH:]),
            version=version_in(tag.decode()),
            head=self._head,
            body=self._body or None,
            route=str(scope["path_template"]),
            until=time.monotonic() + KEPT,
        )


def _key(scope: HTTPScope) -> Key | None:
    """Return the key of a status's answer; None for all else, where no token was sent, or a long origin."""
    path = scope["path"]
    if not path.startswith(ROUTE) or len(path) != len(ROUTE) + ID_LENGTH or scope["method"] != "GET":
        return None
    token, origin = (_header(scope["headers"], name) for name in (b"x-session-token", b"origin"))
    if not token or len(origin or b"") > ORIGIN_LENGTH:
        return None
    return path, hashlib.sha256(token).digest(), origin


def _header(headers: Iterable[tuple[bytes, bytes]], name: bytes) -> bytes | None:
    return next((value for key, value in headers if key == name), None)
