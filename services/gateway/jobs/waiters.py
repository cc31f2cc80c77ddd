"""How many streams and long polls this process keeps open: in all, for each client, and for each upload."""

import contextlib
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from uuid import UUID

import structlog

from services.gateway.http.checks import AnyRequest
from services.gateway.http.client_address import Clients
from services.gateway.http.problems import RateLimitedError
from shared.settings import Gateway

log = structlog.get_logger(__name__)

WAITERS = 10_000
"""Streams and long polls that one process keeps open."""
WAITERS_AT_ONE = 32
"""Likewise for one upload: one token must not fill the process."""
AGAIN = 2.0
"""Seconds after which a client may ask again for whom there is no place."""


class Waiters:
    """The places. A client with many uploads has no more of them than its share."""

    def __init__(self, clients: Clients, settings: Gateway) -> None:
        self._clients = clients
        self._per_client = settings.streams_per_client
        self._in_all = 0
        self._held: Counter[str | UUID] = Counter()

    @contextlib.contextmanager
    def hold(self, upload_id: UUID, request: AnyRequest) -> Iterator[None]:
        """Hold a place for as long as the context lasts. Raise RateLimitedError where there is none."""
        client = self._clients.of(request)
        self._check(upload_id, client)
        self._add(1, upload_id, client)
        try:
            yield
        finally:
            self._add(-1, upload_id, client)

    async def held(
        self, lines: AsyncGenerator[bytes, None], upload_id: UUID, request: AnyRequest
    ) -> AsyncIterator[bytes]:
        """Return a stream's lines, which hold a place until they end or are dropped. Raise RateLimitedError."""
        holding = self._holding(lines, upload_id, request)
        # Taken here, not at the first line: of many requests at one moment each is told whether it has a place. What
        # has begun is closed by asyncio where the server drops it unread.
        await anext(holding)
        return holding

    async def _holding(
        self, lines: AsyncGenerator[bytes, None], upload_id: UUID, request: AnyRequest
    ) -> AsyncGenerator[bytes, None]:
        with self.hold(upload_id, request):
            yield b""
            async with contextlib.aclosing(lines):
                async for line in lines:
                    yield line

    def _check(self, upload_id: UUID, client: str) -> None:
        full = (
            self._in_all >= WAITERS or self._held[upload_id] >= WAITERS_AT_ONE or self._held[client] >= self._per_client
        )
        if full:
            log.info("rate_limited", what="streams")
            raise RateLimitedError(AGAIN)

    def _add(self, number: int, *holders: str | UUID) -> None:
        self._in_all += number
        for holder in holders:
            self._held[holder] += number
            if not self._held[holder]:
                del self._held[holder]
