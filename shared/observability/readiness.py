"""What a process needs, and whether it can be reached: a change is logged once, and shown as a metric."""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial

import structlog

from shared.cancellation import end_if_cancelled
from shared.observability.metrics import UP

log = structlog.get_logger(__name__)

CHECK_TIMEOUT = 3.0
"""Seconds after which a part that has not answered counts as away."""
AGAIN = 1.0
"""Seconds between looks at a part that is away."""


class Readiness:
    """The parts that a process needs. It is ready while all of them are there; one that nobody has seen is not."""

    def __init__(self) -> None:
        self._parts: dict[str, bool | None] = {}
        self._watches: list[Callable[[], Awaitable[None]]] = []

    @property
    def ready(self) -> bool:
        return all(self._parts.values())

    def parts(self) -> dict[str, str]:
        """Return each part's state, for a person: `ok` or `away`."""
        return {part: "ok" if up else "away" for part, up in self._parts.items()}

    def need(self, part: str, *, quiet: bool = False) -> Callable[[bool], None]:
        """Add a part, and return what is to be called with its state; `quiet` where somebody else logs it."""
        self._parts.setdefault(part, None)
        return partial(self._note, part, quiet)

    def watch(self, part: str, check: Callable[[], Awaitable[object]], *, every: float) -> None:
        """Add a part that is looked at `every` so many seconds while it is there; `check` raises where it is away."""
        self._watches.append(partial(self._watch, self.need(part), check, every))

    async def run(self) -> None:
        """Look at what is watched until cancelled."""
        await asyncio.gather(*(watch() for watch in self._watches))

    async def _watch(self, note: Callable[[bool], None], check: Callable[[], Awaitable[object]], every: float) -> None:
        while True:
            end_if_cancelled()
            try:
                async with asyncio.timeout(CHECK_TIMEOUT):
                    await check()
            except Exception:  # noqa: BLE001 — whatever keeps a part from answering, it is away
                up = False
            else:
                up = True
            note(up)
            await asyncio.sleep(every if up else AGAIN)

    def _note(self, part: str, quiet: bool, up: bool) -> None:  # noqa: FBT001 — bound by `need`, called as a callback
        before = self._parts[part]
        if before is up:
            return
        self._parts[part] = up
        UP.labels(part).set(up)
        if quiet:
            return
        if not up:
            log.warning("dependency_down", part=part)
        elif before is not None:
            log.info("dependency_up", part=part)
