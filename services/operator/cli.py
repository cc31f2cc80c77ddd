"""`darkroom`: the command line of developers and operators. Each command's work is in the module of its name."""

import asyncio
import os
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

import click

from shared.observability import configure_logging
from shared.settings import Settings, SettingsError, load

T = TypeVar("T")

SERVICES = ("gateway", "validator", "generator", "storer", "watermarker", "dispatcher", "analytics", "all")


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="darkroom")
def main() -> None:
    """Turn uploaded photos into finished pictures, and lose none on the way."""


def settings_or_exit(*, data_dir: Path = Path(".darkroom"), quiet: bool = False) -> Settings:
    """Read the configuration; where it is refused, say why in one message and leave with status 2."""
    try:
        settings = load(os.environ, data_dir=data_dir)
    except SettingsError as refused:
        click.echo(str(refused), err=True)
        sys.exit(2)
    production = settings.process.environment == "production"
    log_format = settings.process.log_format or ("json" if production else "console")
    configure_logging("WARNING" if quiet else settings.process.log_level, log_format)
    return settings


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine on uvloop, where there is one."""
    try:
        import uvloop  # noqa: PLC0415 — not on every platform
    except ImportError:
        return asyncio.run(work)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(work)


@main.command()
@click.argument("name", type=click.Choice(SERVICES))
def serve(name: str) -> None:
    """Run a service against DATABASE_URL and AMQP_URL until SIGTERM."""
    from services.operator.serve import serve as work  # noqa: PLC0415 — each command loads only what it needs

    try:
        run(work(settings_or_exit(), name))
    except SettingsError as refused:
        click.echo(str(refused), err=True)
        sys.exit(2)


@main.command()
@click.option("--data", type=click.Path(file_okay=False, path_type=Path), default=Path(".darkroom"), show_default=True)
def dev(data: Path) -> None:
    """Run the whole product in one process, with nothing installed or configured."""
    from services.operator.dev import dev as work  # noqa: PLC0415

    run(work(settings_or_exit(data_dir=data), data))


@main.command()
@click.argument("images", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--email", default="someone@example.com", show_default=True, help="Whose pictures these are.")
@click.option("--url", help="A running gateway. Without it, the product is brought up for this run.")
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), default=Path(), help="Where previews are saved.")
@click.option("--data", type=click.Path(file_okay=False, path_type=Path), default=Path(".darkroom"), show_default=True)
def process(images: tuple[Path, ...], email: str, url: str | None, out: Path, data: Path) -> None:
    """Process photos and save their watermarked previews. Exit status 1 where one failed."""
    from services.operator.process import process as work  # noqa: PLC0415

    settings = None if url else settings_or_exit(data_dir=data, quiet=True)
    sys.exit(run(work(images, email=email, url=url, out=out, settings=settings, data_dir=data)))


@main.command()
def migrate() -> None:
    """Bring the schema of DATABASE_URL up to date. Safe to run twice, and from two places at once."""
    from shared.eventstore.migrate import migrate as work  # noqa: PLC0415

    settings = settings_or_exit()
    _require(settings.database.database_url, "DATABASE_URL")
    applied = work(settings.database.database_url)
    click.echo("\n".join(f"applied {name}" for name in applied) or "the schema is up to date")


@main.command()
def doctor() -> None:
    """Check the configuration and every connection, and say what is wrong. Exit status 1 where something is."""
    from services.operator.doctor import doctor as work  # noqa: PLC0415

    sys.exit(run(work(settings_or_exit(quiet=True))))


@main.group()
def runs() -> None:
    """Look at runs."""


@runs.command("list")
@click.option("--status", type=click.Choice(["pending", "processing", "completed", "failed"]))
@click.option("--stage", type=click.Choice(["validating", "generating", "storing", "watermarking", "complete"]))
@click.option("--code", help="Only failures with this code.")
@click.option("--limit", default=50, show_default=True)
def list_runs(status: str | None, stage: str | None, code: str | None, limit: int) -> None:
    """List runs, the last changed first."""
    from services.operator.runs import list_runs as work  # noqa: PLC0415

    settings = settings_or_exit(quiet=True)
    _require(settings.database.database_url, "DATABASE_URL")
    run(work(settings.database.database_url, status=status, stage=stage, code=code, limit=limit))


@runs.command("show")
@click.argument("run_or_upload", type=click.UUID)
def show_run(run_or_upload: Any) -> None:
    """Show a run's events, oldest first, by its id or its upload's."""
    from services.operator.runs import show_run as work  # noqa: PLC0415

    settings = settings_or_exit(quiet=True)
    _require(settings.database.database_url, "DATABASE_URL")
    sys.exit(run(work(settings.database.database_url, run_or_upload)))


@main.group()
def projection() -> None:
    """Look after the read model."""


@projection.command("rebuild")
def rebuild_projection() -> None:
    """Rebuild `uploads` from the events, beside live traffic, and say how the two differed."""
    from shared.projection.rebuild import rebuild as work  # noqa: PLC0415

    settings = settings_or_exit(quiet=True)
    _require(settings.database.database_url, "DATABASE_URL")
    report = work(settings.database.database_url)
    click.echo(f"{report.uploads} uploads from {report.events} events; {report.different} rows differed")


def _require(value: str, name: str) -> None:
    if not value:
        raise click.UsageError(f"{name} is not set")


if __name__ == "__main__":
    main()
