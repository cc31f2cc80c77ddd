"""Python 3.11's `asyncio.wait_for` swallows a cancellation that comes just as what it waits for is done.

The connection pool uses it, so a loop that lives on the pool has to ask, or it would outlive the request to end.
"""

import asyncio


def end_if_cancelled() -> None:
    """Raise CancelledError where this task was asked to end, even if the request was swallowed on its way."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError
