"""What can go wrong, and a seeded schedule of it. Each fault mends itself before the next one of its kind begins."""

import asyncio
import random
import signal
from collections import Counter
from collections.abc import Awaitable, Callable

from tests.chaos.echo import Echo
from tests.gemini_server import Gemini
from tests.servers import PostgresServer, RabbitServer
from tests.stack import Stack

Fault = Callable[[], Awaitable[None]]

PROVIDER_TROUBLE = ("429:1", "500", "503", "hang", "broken", "drop", "text")
"""Modes of the fake provider that are no picture."""


class Faults:
    """Injects faults one after another, `pause` seconds apart on average, until cancelled; counts what it did."""

    def __init__(
        self,
        seed: int,
        *,
        stack: Stack,
        postgres: PostgresServer,
        rabbit: RabbitServer,
        gemini: Gemini,
        echo: Echo,
        mode: str,
        pause: float,
    ) -> None:
        self.counts: Counter[str] = Counter()
        self._random = random.Random(seed)
        self._stack, self._postgres, self._rabbit, self._gemini, self._echo = stack, postgres, rabbit, gemini, echo
        self._mode = mode
        self._pause = pause
        self._over = False
        self._schedule: dict[str, tuple[int, Fault]] = {
            "service killed": (8, self._kill),
            "service frozen": (4, self._freeze),
            "postgres crashed": (1, self._postgres_down),
            "rabbitmq restarted": (1, self._rabbit_down),
            "provider in trouble": (4, self._provider_trouble),
            "messages repeated, late and out of order": (6, self._echoes),
        }

    async def run(self) -> None:
        """Inject faults until `end`; each kind comes once before chance decides, so that every one is seen."""
        names = list(self._schedule)
        first = self._random.sample(names, len(names))
        while not self._over:
            await asyncio.sleep(self._random.uniform(0.3, 1.7) * self._pause)
            weights = [self._schedule[name][0] for name in names]
            name = first.pop() if first else self._random.choices(names, weights)[0]
            await self._schedule[name][1]()
            self.counts[name] += 1

    def end(self) -> None:
        """Have `run` return once the fault under way is mended: broken off, it would leave a server down."""
        self._over = True

    async def _kill(self) -> None:
        name = self._random.choice(sorted(self._stack.processes))
        await asyncio.to_thread(self._stack.kill, name)
        self.counts[f"  SIGKILL {name.partition('#')[0]}"] += 1
        await asyncio.sleep(self._random.uniform(0.0, 1.0))
        self._stack.start(name)

    async def _freeze(self) -> None:
        name = self._random.choice(sorted(self._stack.processes))
        self._stack.signal(name, signal.SIGSTOP)
        self.counts[f"  SIGSTOP {name.partition('#')[0]}"] += 1
        await asyncio.sleep(self._random.uniform(0.5, 6.0))
        self._stack.signal(name, signal.SIGCONT)

    async def _postgres_down(self) -> None:
        await asyncio.to_thread(self._postgres.crash)
        await asyncio.sleep(self._random.uniform(0.2, 4.0))
        await asyncio.to_thread(self._postgres.start)

    async def _rabbit_down(self) -> None:
        down = self._random.choice((self._rabbit.crash, self._rabbit.stop))
        await asyncio.to_thread(down)
        await asyncio.sleep(self._random.uniform(0.2, 4.0))
        await asyncio.to_thread(self._rabbit.start)

    async def _provider_trouble(self) -> None:
        trouble = self._random.choice(PROVIDER_TROUBLE)
        self.counts[f"  provider {trouble}"] += 1
        self._gemini.use(trouble)
        await asyncio.sleep(self._random.uniform(0.5, 3.0))
        self._gemini.use(self._mode)

    async def _echoes(self) -> None:
        self.counts["  messages sent again"] += await self._echo.send_again(self._random)
