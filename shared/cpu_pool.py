"""Image work off the event loop: some pictures at a time in threads, a few more waiting, and then a refusal."""

import asyncio
import contextvars
import functools
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


class CpuBusyError(Exception):
    """As many pictures as allowed are being worked on and waiting. Later there may be room."""


class CpuPool:
    """At most `running` pictures are worked on and at most `waiting` wait, whoever asks, so that memory has a bound.

    Threads are enough: libvips lets go of the interpreter lock while it works.
    """

    def __init__(self, running: int, waiting: int) -> None:
        self._threads = ThreadPoolExecutor(running, thread_name_prefix="image")
        self._room = threading.BoundedSemaphore(running + waiting)
        self._limits = f"{running} running, {waiting} waiting"

    async def run(self, work: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Do `work` in a thread and return what it returns or raises.

        Raises CpuBusyError where there is no room, and after `close`. Cancelling leaves the queue; work that has begun
        runs to its end and its result is dropped, and it keeps its place until then, because it keeps its memory.
        """
        if not self._room.acquire(blocking=False):
            raise CpuBusyError(f"no room for another picture ({self._limits})")
        # In the caller's context, so that log lines and traces from the thread belong to the caller's run.
        bound = functools.partial(contextvars.copy_context().run, functools.partial(work, *args, **kwargs))
        try:
            job = self._threads.submit(bound)
        except RuntimeError as error:
            self._room.release()
            raise CpuBusyError("the pool is closed") from error
        job.add_done_callback(lambda _: self._room.release())
        try:
            return await asyncio.wrap_future(job)
        finally:
            # An error's traceback holds this frame. Were the frame to hold the error in turn, both would stay, and with
            # them the picture in `bound`, until the garbage collector's third generation comes round.
            del job, bound, args, kwargs

    def close(self) -> None:
        """Take no more work and drop what waits. What runs goes on to its end; nobody is blocked meanwhile."""
        self._threads.shutdown(wait=False, cancel_futures=True)
