"""A circuit breaker: while the AI provider is down, the generator takes nothing up, instead of burning attempts."""

import asyncio
from collections.abc import Callable

import structlog

log = structlog.get_logger(__name__)


class Breaker:
    """Opens after `threshold` failures in a row, for `pause` seconds, then lets one try through.

    The try that succeeds closes it; one that fails opens it again for twice as long, up to `pause_max`. Only failures
    whose code is in `opens_on` count: they say that the other side is down, not that one picture cannot be drawn.
    """

    def __init__(
        self,
        opens_on: frozenset[str] = frozenset(),
        *,
        threshold: int = 5,
        pause: float = 5.0,
        pause_max: float = 60.0,
        on_state: Callable[[bool], None] = lambda _: None,
    ) -> None:
        self._opens_on = opens_on
        self._threshold = threshold
        self._pause_first, self._pause_max = pause, pause_max
        self._pause = pause
        self._failures = 0
        self._open_until: float | None = None
        self._probe = asyncio.Lock()
        self._on_state = on_state

    @property
    def closed(self) -> bool:
        """Whether work is let through."""
        return self._open_until is None

    async def wait(self) -> None:
        """Return at once while closed; while open, when it is this caller's turn to try."""
        while not self.closed:
            async with self._probe:
                if self._open_until is None:
                    return
                now = asyncio.get_running_loop().time()
                if now >= self._open_until:
                    # The next one waits as long again, unless this try closes the breaker before.
                    self._open_until = now + self._pause
                    return
                await asyncio.sleep(self._open_until - now)

    def succeeded(self) -> None:
        """Note that the other side did its work."""
        self._failures, self._pause = 0, self._pause_first
        if self._open_until is not None:
            self._open_until = None
            log.info("breaker_closed")
            self._on_state(True)

    def failed(self, code: str) -> None:
        """Note a failure; one that says nothing about the other side does not count."""
        if code not in self._opens_on:
            return
        self._failures += 1
        if self._failures < self._threshold:
            return
        if self._open_until is None:
            log.warning("breaker_opened", code=code, pause=self._pause)
            self._on_state(False)
        else:
            self._pause = min(self._pause * 2, self._pause_max)
        self._open_until = asyncio.get_running_loop().time() + self._pause
