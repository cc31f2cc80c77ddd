"""`just chaos [--sagas N] [--seed N]`: thousands of sagas under faults. Exit status 1 where an invariant breaks.

The schedule of faults is drawn from the seed, so a failing run can be run again; which message meets which fault still
depends on the machine's timing.
"""

import argparse
import asyncio
import contextlib
import random
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from rich.console import Console
from rich.table import Table

from shared.database.migrate import migrate
from tests.chaos.echo import Echo
from tests.chaos.faults import Faults
from tests.chaos.invariants import Verdict, judge, unfinished
from tests.chaos.load import Load
from tests.gemini_server import Gemini, serving_in_thread
from tests.servers import PostgresServer, RabbitServer, private_postgres, private_rabbit
from tests.stack import SERVICES, Stack

MODE = "slow:0.2"
"""How the provider behaves when it is well: calls take a while, so that faults fall inside them."""
TIMEOUT = "3"
"""Seconds that a provider call may take here. Its lease is a little longer."""
SETTLE = 240.0
"""Seconds that the sagas have to end once the faults have stopped."""

console = Console(stderr=True)


async def battle(options: argparse.Namespace) -> int:
    """Run the load under the faults, let it settle, judge."""
    with (
        contextlib.closing(private_postgres()) as postgres,
        contextlib.closing(private_rabbit()) as rabbit,
        serving_in_thread(MODE) as gemini,
        tempfile.TemporaryDirectory(prefix="darkroom-chaos-") as folder,
    ):
        database_url, amqp_url = postgres.create_database(), rabbit.create_vhost()
        migrate(database_url)
        env = {
            "GENERATOR": "gemini",
            "GEMINI_API_KEY": "test",
            "GEMINI_BASE_URL": gemini.url,
            "GENERATOR_TIMEOUT": TIMEOUT,
            "GENERATOR_MAX_UNKNOWN": "5",
            "LOG_LEVEL": "INFO",
        }
        with Stack(Path(folder), database_url, amqp_url, env) as stack:
            stack.start_all()
            stack.start("generator#2", "validator#2", "dispatcher#2")
            faults, load = _cast(options, stack, postgres, rabbit, gemini, database_url, amqp_url)
            began = time.monotonic()
            await _under_fire(faults, load, options.sagas)
            took = time.monotonic() - began
            await _settled(stack, database_url, gemini)
            verdict = await judge(database_url, amqp_url, load.accepted, load.photos, gemini)
            _print(options, faults.counts, load, verdict, took)
            if verdict.broken and options.keep:
                _keep(Path(folder), options.keep)
    return 1 if verdict.broken else 0


def _cast(
    options: argparse.Namespace,
    stack: Stack,
    postgres: PostgresServer,
    rabbit: RabbitServer,
    gemini: Gemini,
    database_url: str,
    amqp_url: str,
) -> tuple[Faults, Load]:
    faults = Faults(
        options.seed,
        stack=stack,
        postgres=postgres,
        rabbit=rabbit,
        gemini=gemini,
        echo=Echo(database_url, amqp_url),
        mode=MODE,
        pause=options.pause,
    )
    return faults, Load(stack.url, options.sagas, options.rate, options.seed)


async def _under_fire(faults: Faults, load: Load, sagas: int) -> None:
    loading = asyncio.create_task(load.run())
    firing = asyncio.create_task(faults.run())
    while not loading.done():
        done, _ = await asyncio.wait({loading, firing}, timeout=10, return_when=asyncio.FIRST_COMPLETED)
        if firing in done:
            firing.result()
        console.print(f"{len(load.accepted)}/{sagas} accepted, {sum(faults.counts.values())} faults", highlight=False)
    faults.end()
    await firing
    loading.result()


async def _settled(stack: Stack, database_url: str, gemini: Gemini) -> None:
    """Mend everything, and wait until every run has ended and the outbox is empty; the verdict says what was not."""
    gemini.use(MODE)
    for name in (*SERVICES, "generator#2", "validator#2", "dispatcher#2"):
        if name not in stack.processes:
            stack.start(name)
    stack.wake_all()
    deadline = time.monotonic() + SETTLE
    while time.monotonic() < deadline:
        left = await asyncio.to_thread(unfinished, database_url)
        if not left:
            return
        console.print(f"settling: {left} left", highlight=False)
        await asyncio.sleep(2)


def _print(options: argparse.Namespace, faults: Mapping[str, int], load: Load, verdict: Verdict, took: float) -> None:
    table = Table("what", "number", title=f"seed {options.seed}, {took:.0f} s under fire")
    table.columns[1].justify = "right"
    table.add_row("starts accepted", str(len(load.accepted)))
    table.add_row("requests refused and tried again", str(load.refused))
    for name, number in sorted(faults.items(), key=lambda item: (item[0].startswith(" "), item[0])):
        table.add_row(name, str(number))
    for name, number in verdict.counts.items():
        table.add_row(name, str(number))
    table.add_row("invariants broken", str(len(verdict.broken)))
    Console().print(table)
    for problem in verdict.broken[:40]:
        console.print(f"[red]✗[/] {problem}", highlight=False)


def _keep(folder: Path, target: Path) -> None:
    target.mkdir(parents=True, exist_ok=True)
    for log in folder.glob("*.log"):
        (target / log.name).write_bytes(log.read_bytes())


def main() -> None:
    """Read the arguments and fight."""
    parser = argparse.ArgumentParser(prog="just chaos", description=__doc__)
    parser.add_argument("--sagas", type=int, default=300)
    parser.add_argument("--rate", type=float, default=8, help="starts a second")
    parser.add_argument("--seed", type=int, default=random.randrange(1_000_000))
    parser.add_argument("--pause", type=float, default=1.5, help="mean seconds between faults")
    parser.add_argument("--keep", type=Path, help="where to put the logs of a run that breaks an invariant")
    sys.exit(asyncio.run(battle(parser.parse_args())))


if __name__ == "__main__":
    main()
