"""The real generator as a process that kills itself (SIGKILL) at one named await point: `python -m … POINT`."""

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from contracts.events import GenerationStarted, Stage
from services.generator.gemini import GeminiProvider
from services.generator.handler import CallPolicy, generate_picture
from shared.bootstrap import rabbit_runtime, stop_on_signals
from shared.settings import load

POINTS = (
    "before reading the photo",
    "after reading the photo",
    "before the claim",
    "after the claim",
    "before the call",
    "in the call",  # here the test kills it, once the provider has begun to draw
    "after the call",
    "before putting the picture away",
    "after putting the picture away",
    "before recording the picture",
    "after recording the picture",
)
INSIDE_THE_CALL = frozenset({"in the call", "after the call", "before putting the picture away"})
"""Points between the provider's beginning to draw and the picture's being safe: here dying costs a second call."""


class Mortal:
    """A port whose named methods may be the process's last."""

    def __init__(self, port: Any, point: str, deaths: dict[str, tuple[str, str]]) -> None:
        self._port, self._point, self._deaths = port, point, deaths

    def __getattr__(self, name: str) -> Any:
        attribute = getattr(self._port, name)
        if name not in self._deaths:
            return attribute
        return partial(self._die_around, attribute, *self._deaths[name])

    async def _die_around(
        self, call: Callable[..., Awaitable[Any]], before: str, after: str, *args: Any, **kwargs: Any
    ) -> Any:
        if self._point == before:
            _die()
        result = await call(*args, **kwargs)
        if self._point == after:
            _die()
        return result


class MortalStore:
    """The event store, whose appends may be the process's last."""

    def __init__(self, store: Any, point: str) -> None:
        self._store, self._point = store, point

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def append(self, *events: Any, **kwargs: Any) -> None:
        what = "the claim" if isinstance(events[0], GenerationStarted) else "recording the picture"
        if self._point == f"before {what}":
            _die()
        await self._store.append(*events, **kwargs)
        if self._point == f"after {what}":
            _die()


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


async def main(point: str) -> None:
    """Run the generating stage until it dies."""
    settings = load(os.environ)
    runtime = rabbit_runtime(settings, public_url="http://127.0.0.1")
    objects = Mortal(
        runtime.objects,
        point,
        {
            "get": ("before reading the photo", "after reading the photo"),
            "put": ("before putting the picture away", "after putting the picture away"),
        },
    )
    generator = settings.generator
    provider = GeminiProvider(generator.gemini_api_key, generator.gemini_model, generator.gemini_base_url, 30)
    runtime.store = MortalStore(runtime.store, point)  # type: ignore[assignment]
    runtime.attach_stage(
        Stage.GENERATING,
        partial(
            generate_picture,
            objects=objects,
            cpu=runtime.cpu,
            provider=Mortal(provider, point, {"generate": ("before the call", "after the call")}),
            policy=CallPolicy(worker="mortal", timeout=generator.generator_timeout, max_unknown=2),
        ),
    )
    stop = asyncio.Event()
    stop_on_signals(stop)
    await runtime.run(stop)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
