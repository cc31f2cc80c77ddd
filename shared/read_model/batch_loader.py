"""Group read: look-ups that come while another query is under way are answered together, by the next one.

Alone, a look-up's price is the query's and not the row's, in this process and in the database; in a group it is shared.
"""

import asyncio
import contextvars
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Generic, TypeVar
from uuid import UUID

T = TypeVar("T")

Asked = dict[UUID, list["asyncio.Future[T | None]"]]

LATE = 0.25
"""Seconds after which a query does not hold up the next one: the connection that it waits for may be dead."""
LIMIT = 5.0
"""Seconds that a query has. Those who asked have given up long before."""


class BatchLoader(Generic[T]):
    """Looks up what belongs to uploads. Lives on one event loop.

    The query that answers a look-up always begins after it was asked for, and so sees whatever was committed by then.
    """

    def __init__(self, query: Callable[[Sequence[UUID]], Awaitable[Mapping[UUID, T]]]) -> None:
        self._query = query
        self._waiting: Asked[T] = {}
        self._reading: asyncio.Task[None] | None = None
        self._late: set[asyncio.Task[None]] = set()

    def get(self, upload_id: UUID) -> "asyncio.Future[T | None]":
        """Return what belongs to an upload: None where nothing does. Raises what the query raises, or TimeoutError."""
        found: asyncio.Future[T | None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(upload_id, []).append(found)
        if self._reading is None:
            self._begin()
        return found

    def _begin(self) -> None:
        """Begin a query for all who wait. It belongs to none of them, and so runs in no one's context."""
        asked, self._waiting = self._waiting, {}
        loop = asyncio.get_running_loop()
        self._reading = loop.create_task(self._read(asked), context=contextvars.Context())
        loop.call_later(LATE, self._go_on_without, self._reading)

    async def _read(self, asked: "Asked[T]") -> None:
        try:
            async with asyncio.timeout(LIMIT):
                rows = await self._query(list(asked))
        except Exception as error:  # noqa: BLE001 — whoever asked is told
            refusal = error
            _each(asked, lambda _, found: found.set_exception(refusal))
        else:
            _each(asked, lambda upload_id, found: found.set_result(rows.get(upload_id)))
        finally:
            task = asyncio.current_task()
            if self._reading is task:
                self._next()
            else:
                self._late.discard(task)

    def _go_on_without(self, reading: "asyncio.Task[None]") -> None:
        if self._reading is reading:
            self._late.add(reading)
            self._next()

    def _next(self) -> None:
        self._reading = None
        if self._waiting:
            self._begin()


def _each(asked: "Asked[T]", tell: "Callable[[UUID, asyncio.Future[T | None]], None]") -> None:
    """Tell all who asked and still wait."""
    for upload_id, waiting in asked.items():
        for found in waiting:
            if not found.done():
                tell(upload_id, found)
