"""Wait for a condition with a deadline, on the event loop. `tests.stack.eventually` does it without one."""

import asyncio
import inspect
from collections.abc import Awaitable, Callable


async def until(true: Callable[[], object | Awaitable[object]], *, within: float = 10, every: float = 0.01) -> None:
    """Return once `true` gives something true. Raises AssertionError after `within` seconds."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + within
    while True:
        answer = true()
        if inspect.isawaitable(answer):
            answer = await answer
        if answer:
            return
        assert loop.time() < deadline, f"not within {within} s"
        await asyncio.sleep(every)
