"""A circuit breaker: while the AI provider is down, the generator takes nothing up, instead of burning attempts."""

import asyncio
import contextlib
from collections.abc import Callable

import structlog

log = structlog.get_logger(__name__)


class CircuitBreaker:
    """Opens after `threshold` failures in a row, for `pause` seconds, then lets one try through.

    The try that succeeds closes it; one that fails opens it again for twice as long, up to `pause_max`; one that ends
    without having asked the other side anything hands its turn to the next. Only failures whose code is in `opens_on`
    count: they say that the other side is down, not that one picture cannot be drawn.
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
        self._probing = False
        self._changed = asyncio.Event()
        self._on_state = on_state

    @property
    def closed(self) -> bool:
        """Whether work is let through."""
        return self._open_until is None

    async def wait(self) -> bool:
        """Return at once while closed; while open, when it is this caller's turn to try.

        True says that this is the one try: whoever gets it calls `probe_ended` at its end.
        """
        loop = asyncio.get_running_loop()
        while self._open_until is not None:
            left = self._open_until - loop.time()
            if left <= 0 and not self._probing:
                self._probing = True
                return True
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(None if self._probing else left):
                    await self._changed.wait()
        return False

    def probe_ended(self) -> None:
        """Note that the one try is over; where it said nothing of the other side, the next may try at once."""
        self._probing = False
        self._wake()

    def succeeded(self) -> None:
        """Note that the other side did its work."""
        self._failures, self._pause = 0, self._pause_first
        if self._open_until is not None:
            self._open_until = None
            log.info("breaker_closed")
            self._on_state(True)
            self._wake()

    def failed(self, code: str, *, probe: bool = False) -> None:
        """Note a failure; one that says nothing about the other side does not count."""
        if code not in self._opens_on:
            return
        self._failures += 1
        if self._failures < self._threshold:
            return
        if self._open_until is None:
            log.warning("breaker_opened", code=code, pause=self._pause)
            self._on_state(False)
        elif probe:
            self._pause = min(self._pause * 2, self._pause_max)
        else:
            return  # it was under way when the breaker opened, and says nothing new
        self._open_until = asyncio.get_running_loop().time() + self._pause

    def _wake(self) -> None:
        """Have all who wait look again."""
        self._changed.set()
        self._changed = asyncio.Event()
