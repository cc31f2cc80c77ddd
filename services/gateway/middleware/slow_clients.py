"""Clients that keep moving: a body comes in at a pace, and an answer is read. Who stalls is let go."""

import asyncio

from litestar.exceptions import HTTPException
from litestar.types import HTTPScope, Message, Receive, Send
from litestar.types.asgi_types import ReceiveMessage

FIRST_BYTES = 15.0
"""Seconds that a client has before its body must keep pace."""
PACE = 16 * 1024
"""Bytes a second that a body has to come in at: half of what a telephone on 256 kbit/s manages."""
CREDIT = 20.0
"""Most seconds without a byte, however much came before: a client that sent fast may not hold on to it for long."""
LINGER = 20.0
"""Seconds that a client may go on sending a body which was answered already."""
READER_WAIT = 30.0
"""Seconds that a client may leave an answer's next piece unread."""


_SAYS_BODY = frozenset({b"content-length", b"transfer-encoding"})


class SlowClientError(HTTPException):
    """The request's body did not keep pace."""

    status_code = 408


class MinimumRateBody:
    """A request's body, which has to come in at a pace. After it, `receive` only waits for the client to leave.

    Each byte moves the deadline on by its share of a second, but never beyond `CREDIT` from now, nor beyond `limit`
    seconds from the beginning.
    """

    def __init__(self, scope: HTTPScope, receive: Receive, limit: float) -> None:
        self._scope = scope
        self._receive = receive
        self._now = asyncio.get_running_loop().time
        self._end = self._now() + limit
        self._deadline = min(self._now() + FIRST_BYTES, self._end)
        self._complete = not any(name in _SAYS_BODY for name, _ in scope["headers"])

    async def receive(self) -> ReceiveMessage:
        """Return the next message. Raises SlowClientError."""
        if self._complete:
            return await self._receive()
        try:
            async with asyncio.timeout_at(self._deadline):
                message = await self._receive()
        except TimeoutError:
            self._complete = True
            raise SlowClientError(detail="The request came in too slowly.") from None
        if message["type"] != "http.request":
            self._complete = True
            self._scope["state"]["client_gone"] = True
            return message
        earned = len(message.get("body", b"")) / PACE
        self._deadline = min(self._deadline + earned, self._now() + CREDIT, self._end)
        self._complete = not message.get("more_body", False)
        return message

    async def discard(self) -> None:
        """Read what is left of the body after the answer.

        Were the connection closed on it instead, the client's system would throw the answer away before it is read.
        """
        if self._complete:
            return
        try:
            async with asyncio.timeout(LINGER):
                while not self._complete:
                    await self.receive()
        except (TimeoutError, SlowClientError):
            return


def send_with_timeout(send: Send) -> Send:
    """Return up on a client that does not read. An answer of one piece waits for nobody: the server takes it whole."""
    streams = False

    async def paced(message: Message) -> None:
        nonlocal streams
        streams = streams or (message["type"] == "http.response.body" and message.get("more_body", False))
        if not streams:
            await send(message)
            return
        async with asyncio.timeout(READER_WAIT):
            await send(message)

    return paced
