"""Clients that keep moving: a body comes in at a pace, and an answer is read. Who stalls is let go."""

import asyncio

from litestar.exceptions import HTTPException
from litestar.types import Message, Receive, Send
from litestar.types.asgi_types import ReceiveMessage

FIRST_BYTES = 15.0
"""Seconds that a client has before its body must keep pace."""
PACE = 16 * 1024
"""Bytes a second that a body has to come in at, on the whole: 50 MB may take 55 minutes, a trickle may not."""
READER_WAIT = 30.0
"""Seconds that a client may leave an answer's next piece unread."""


class SlowClientError(HTTPException):
    """The request's body did not keep pace."""

    status_code = 408


def paced_receive(receive: Receive) -> Receive:
    """Have a body come in at a pace. Then there is no limit: `receive` only waits for the client to leave."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    received, complete = 0, False

    async def paced() -> ReceiveMessage:
        nonlocal received, complete
        if complete:
            return await receive()
        try:
            async with asyncio.timeout_at(began + FIRST_BYTES + received / PACE):
                message = await receive()
        except TimeoutError:
            complete = True
            raise SlowClientError(detail="The request came in too slowly.") from None
        if message["type"] == "http.request":
            received += len(message.get("body", b""))
            complete = not message.get("more_body", False)
        return message

    return paced


def paced_send(send: Send) -> Send:
    """Give up on a client that does not read."""

    async def paced(message: Message) -> None:
        async with asyncio.timeout(READER_WAIT):
            await send(message)

    return paced
