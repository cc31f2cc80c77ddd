"""A rate kept: at most so many a second, so that what is replayed leaves room for live uploads."""

import time


class Pace:
    """Lets through `rate` a second on average, and no more than a second's worth, or one, at once."""

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self._most = max(1.0, rate)
        self._saved = 1.0
        self._at = time.monotonic()

    def take(self, wanted: int) -> int:
        """Give how many of `wanted` may go now."""
        now = time.monotonic()
        self._saved = min(self._most, self._saved + (now - self._at) * self._rate)
        self._at = now
        allowed = max(0, min(wanted, int(self._saved)))
        self._saved -= allowed
        return allowed
