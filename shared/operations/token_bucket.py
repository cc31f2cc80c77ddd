"""A rate kept: at most so many a second, so that what is replayed leaves room for live uploads."""

import time
from collections.abc import Callable


class TokenBucket:
    """Lets through `rate` a second on average, and no more than a second's worth, or one, at once."""

    def __init__(self, rate: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate = rate
        self._clock = clock
        self._most = max(1.0, rate)
        self._saved = 1.0
        self._at = clock()

    def take(self, wanted: int) -> int:
        """Return how many of `wanted` may go now."""
        now = self._clock()
        self._saved = min(self._most, self._saved + (now - self._at) * self._rate)
        self._at = now
        allowed = max(0, min(wanted, int(self._saved)))
        self._saved -= allowed
        return allowed
