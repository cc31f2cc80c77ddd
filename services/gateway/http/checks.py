"""What is looked at before anything of a request is read; the first refusal is the answer.

A hook and no guard: for each guard of each request, Litestar copies the route's handler.
"""

from collections.abc import Awaitable, Callable
from typing import Any

from litestar import Request

AnyRequest = Request[Any, Any, Any]
Check = Callable[[AnyRequest], Awaitable[None]]


def checks(*in_order: Check) -> Check:
    """Return the `before_request` of a route: all of these, in order. Raises what the first refusal raises."""

    async def check(request: AnyRequest) -> None:
        for each in in_order:
            await each(request)

    return check
