"""Where benchmarks run: private servers, opened at first use, and a folder; all gone at the end."""

import enum
import statistics
import tempfile
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import TypeVar

from shared.database.migrate import migrate
from tests.benchmarks import streams
from tests.servers import PostgresServer, RabbitServer, open_postgres, open_rabbit

T = TypeVar("T")


class Size(enum.StrEnum):
    """How long a run may take: a minute or two to see that all works, under ten minutes, or as long as it takes."""

    QUICK = "quick"
    USUAL = "usual"
    FULL = "full"


class Ground:
    """One run's servers, folder and size. `say` shows what is being done."""

    def __init__(self, size: Size, say: Callable[[str], None], profile: Path | None) -> None:
        self.size = size
        self.say = say
        self.profile = profile
        self.opened: list[PostgresServer | RabbitServer] = []
        self._folder = tempfile.TemporaryDirectory(prefix="darkroom-bench-")
        self._seeded: dict[int, str] = {}

    @cached_property
    def postgres(self) -> PostgresServer:
        self.say("starting PostgreSQL")
        server = open_postgres()
        self.opened.append(server)
        return server

    @cached_property
    def rabbit(self) -> RabbitServer:
        self.say("starting RabbitMQ")
        server = open_rabbit()
        self.opened.append(server)
        return server

    def database(self) -> str:
        """Return a database of its own with the schema in it."""
        url = self.postgres.create_database()
        migrate(url)
        return url

    def seeded(self, uploads: int) -> str:
        """Return the database with that many uploads, most of them completed; the benchmarks of a run share it."""
        if uploads not in self._seeded:
            self.say(f"writing {uploads:,} uploads")
            url = self.database()
            streams.fill(url, uploads - uploads // 20, streams.COMPLETED)
            streams.fill(url, uploads // 20, streams.FAILED)
            self._seeded[uploads] = url
        return self._seeded[uploads]

    def folder(self, name: str) -> Path:
        return Path(tempfile.mkdtemp(prefix=f"{name}-", dir=self._folder.name))

    def pick(self, *, quick: T, usual: T, full: T | None = None) -> T:
        """Return the number for this run's size; `full` is as `usual` where nothing is said."""
        if self.size is Size.QUICK:
            return quick
        return usual if self.size is Size.USUAL or full is None else full

    def close(self) -> None:
        for server in self.opened:
            server.close()
        self._folder.cleanup()


def pid_of(server: PostgresServer | RabbitServer) -> int | None:
    """Return the process of a server that we started ourselves and that is no container."""
    return getattr(server.power, "pid", None)


def quantile(values: list[float], share: float) -> float:
    """Return the value below which `share` of all lie, in milliseconds out of seconds."""
    ranked = sorted(values)
    return ranked[min(int(len(ranked) * share), len(ranked) - 1)] * 1000


def p50(values: list[float]) -> float:
    return statistics.median(values) * 1000
