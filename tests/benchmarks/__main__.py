"""The command line: which benchmarks, how long, and in what shape the result comes."""

import asyncio
import signal
import sys
import time
import traceback
from collections.abc import Awaitable, Callable
from contextlib import closing
from importlib import import_module
from pathlib import Path

import click
import uvloop
from rich.console import Console

from tests.benchmarks import machine
from tests.benchmarks.ground import Ground, Size
from tests.benchmarks.report import Report, Result, as_json, print_heading, print_result
from tests.servers import PostgresServer

NAMES = (
    "append", "start", "saga", "status", "dispatch", "rebuild", "replay", "growth", "disk", "image", "memory",
    "coldstart",
)  # fmt: skip

Benchmark = Callable[[Ground], Awaitable[Result]]


@click.command()
@click.argument("names", nargs=-1, type=click.Choice(NAMES))
@click.option("--quick", is_flag=True, help="Small sizes: to see that all works, not to measure.")
@click.option("--full", is_flag=True, help="Also what takes long: a million uploads rebuilt, more rounds of growth.")
@click.option("--json", "json_wanted", is_flag=True, help="Give the report as JSON on standard output.")
@click.option(
    "--profile",
    type=click.Path(file_okay=False, path_type=Path),
    help="Sample the services of `start` and `saga` with py-spy and leave folded stacks in this folder.",
)
def main(names: tuple[str, ...], quick: bool, full: bool, json_wanted: bool, profile: Path | None) -> None:
    """Measure darkroom on private servers of its own. Without NAMES: all of it, in under ten minutes on two cores."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what we started ends with us
    size = Size.QUICK if quick else Size.FULL if full else Size.USUAL
    progress, output = Console(stderr=True), Console(width=None if sys.stdout.isatty() else 180)
    with progress.status("starting") as status:
        said, failed = {"name": ""}, []

        def say(text: str) -> None:
            status.update(f"{said['name']}: {text}")

        with closing(Ground(size, say, profile)) as ground:
            report = Report(machine=machine.machine(), versions=machine.versions(), servers={}, results=[])
            for nth, name in enumerate(names or NAMES, start=1):
                said["name"] = f"{name} ({nth} of {len(names or NAMES)})"
                try:
                    result = measured(name, ground)
                except Exception:  # noqa: BLE001 — the others' figures are worth having all the same
                    failed.append(name)
                    traceback.print_exc()
                    continue
                report.results.append(result)
                progress.print(f"{name}: done in {result.seconds:.0f} s")
                if not json_wanted:
                    print_result(result, output)
            report.servers = _servers(ground)
    if json_wanted:
        click.echo(as_json(report))
    else:
        output.print()
        print_heading(report, output)
    if failed:
        sys.exit(f"not measured: {', '.join(failed)}")


def measured(name: str, ground: Ground) -> Result:
    """Run one benchmark between two looks at how fast the machine is."""
    benchmark: Benchmark = import_module(f"tests.benchmarks.{name}").run
    calibrations, loads, began = [machine.calibration()], [machine.load()], time.perf_counter()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        result = runner.run(benchmark(ground))
    result.seconds = time.perf_counter() - began
    result.calibration_ns = [*calibrations, machine.calibration()]
    result.load = [*loads, machine.load()]
    return result


def _servers(ground: Ground) -> dict[str, str]:
    settings: dict[str, str] = {}
    for server in ground.opened:
        if isinstance(server, PostgresServer):
            settings |= machine.postgres_settings(server.url)
        else:
            settings["RabbitMQ"] = machine.rabbit_version(server.amqp_url)
    return settings


if __name__ == "__main__":
    main()
