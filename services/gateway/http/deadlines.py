"""How long a request waits for the database, whatever state that is in: away, just restarted, or frozen."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from psycopg import OperationalError

T = TypeVar("T")

READ_DEADLINE = 3.0
"""Seconds that a read has before the client is asked to come back."""
PAUSE = 0.05
"""Seconds between tries of a read whose connection had died."""


async def with_deadline(read: Callable[[], Awaitable[T]], seconds: float = READ_DEADLINE) -> T:
    """Do a read, more than once if the database hangs up, within `seconds`.

    Raises TimeoutError, or what the last try raised. A read that hangs is left behind rather than waited for: to cancel
    a query, psycopg asks the same server that does not answer.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    while True:
        reading = asyncio.ensure_future(read())
        try:
            done, _ = await asyncio.wait((reading,), timeout=deadline - loop.time())
        finally:
            reading.add_done_callback(_forget)
            reading.cancel()
        if not done:
            raise TimeoutError
        try:
            return reading.result()
        except OperationalError:
            if loop.time() + PAUSE >= deadline:
                raise
        finally:
            del reading  # An error's traceback holds this frame: see `CpuPool.run`.
        await asyncio.sleep(PAUSE)


def _forget(reading: asyncio.Future[T]) -> None:
    """Take note of how a read ended that nobody waits for, or asyncio would report it."""
    if not reading.cancelled():
        reading.exception()
