"""`just soak [SERVICE] [MINUTES]`: the whole stack under good and refused work. Exit status 1 where a figure grows."""

import argparse
import asyncio
import contextlib
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path

from rich.console import Console
from rich.table import Table

from shared.database.migrate import migrate
from tests.gemini_server import serving_in_thread
from tests.servers import free_port, private_postgres, private_rabbit
from tests.soak.samples import Sample, grown, median, sample
from tests.soak.work import Rounds
from tests.stack import SERVICES, Stack

WARM_UP = 20
"""Rounds before the first look: pools and caches fill up once."""
SIZE = 3_000_000
"""Bytes of a picture that is refused."""


@contextlib.asynccontextmanager
async def soaking(database_url: str, amqp_url: str, folder: Path) -> AsyncIterator[tuple[Stack, dict[str, int]]]:
    """Run all services, and say where each shows its metrics. Every fifth picture of the provider is broken."""
    (folder / "tmp").mkdir()
    with serving_in_thread("ok") as gemini:
        gemini.use("ok", *(["ok"] * 4 + ["broken"]) * 1_000)
        env = {"GENERATOR": "gemini", "GEMINI_API_KEY": "k", "GEMINI_BASE_URL": gemini.url}
        with Stack(folder, database_url, amqp_url, {**env, "TMPDIR": str(folder / "tmp")}) as stack:
            ports = {}
            for name in SERVICES:
                ports[name] = stack.port if name == "gateway" else free_port()
                stack.env["HEALTH_PORT"] = "0" if name == "gateway" else str(ports[name])
                stack.start(name)
            await asyncio.to_thread(stack.wait_ready)
            yield stack, ports


async def soak(minutes: float) -> dict[str, list[Sample]]:
    """Send rounds for as long, and return every process's samples, one a round."""
    with (
        contextlib.closing(private_postgres()) as postgres,
        contextlib.closing(private_rabbit()) as rabbit,
        tempfile.TemporaryDirectory(prefix="darkroom-soak-") as folder,
    ):
        database_url, amqp_url = postgres.create_database(), rabbit.create_vhost()
        migrate(database_url)
        async with soaking(database_url, amqp_url, Path(folder)) as (stack, ports):
            rounds, samples = Rounds(stack, SIZE), {name: [] for name in SERVICES}
            for _ in range(WARM_UP):
                await rounds.one()
            until = time.monotonic() + minutes * 60
            while time.monotonic() < until:
                await rounds.one()
                for name, each in (await asyncio.to_thread(sample, stack, ports)).items():
                    samples[name].append(each)
            Console(stderr=True).print(f"{rounds.refused} requests and pictures were refused")
    return samples


def main() -> int:
    """Soak, and print what each process held in the first and in the last third of the time."""
    parser = argparse.ArgumentParser(prog="just soak", description=__doc__)
    parser.add_argument("service", nargs="?", default="all", choices=("all", *SERVICES), help="whose figures count")
    parser.add_argument("minutes", nargs="?", type=float, default=5.0)
    options = parser.parse_args()
    table = Table("service", "MiB", "descriptors", "threads", "tasks", "temporary files", "verdict")
    worse = 0
    for name, samples in asyncio.run(soak(options.minutes)).items():
        third = max(1, len(samples) // 3)
        before, after = median(samples[:third]), median(samples[-third:])
        verdict = ", ".join(grown(before, after))
        if options.service in ("all", name):
            worse += bool(verdict)
            figures = ("rss", "descriptors", "threads", "tasks", "files")
            row = (f"{getattr(before, figure):.0f} → {getattr(after, figure):.0f}" for figure in figures)
            table.add_row(name, *row, verdict or "flat")
    Console().print(table)
    return 1 if worse else 0


if __name__ == "__main__":
    sys.exit(main())
