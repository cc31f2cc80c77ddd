"""`darkroom`: the command line of developers and operators. Each command's work is in the module of its name."""

import os
import sys
from importlib import import_module
from pathlib import Path

import click

from services.cli.console import DATA, run, settings_or_exit
from shared.settings import COMMAND, EVERYTHING, SettingsError
from shared.upload.saga import SERVICES

COMMANDS = {
    "audit": "services.cli.commands.audit",
    "dead-letters": "services.cli.commands.dead_letters",
    "erase": "services.cli.commands.erase",
    "projection": "services.cli.commands.projection",
    "replay": "services.cli.commands.replay",
    "runs": "services.cli.commands.runs",
}
"""Commands in modules of their own, each loaded only when it is called: a service's process is spared them."""


class _Commands(click.Group):
    """The commands of this module, and the groups."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Name them all, for the help."""
        return sorted({*super().list_commands(ctx), *COMMANDS})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Load a command by its name."""
        if cmd_name not in COMMANDS:
            return super().get_command(ctx, cmd_name)
        command: click.Command = getattr(import_module(COMMANDS[cmd_name]), cmd_name.replace("-", "_"))
        return command


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="darkroom")
def main() -> None:
    """Turn uploaded photos into finished pictures, and lose none on the way."""


@main.command()
@click.argument("name", type=click.Choice((*SERVICES, EVERYTHING)))
def serve(name: str) -> None:
    """Run a service against DATABASE_URL and AMQP_URL until SIGTERM."""
    from services.cli.processes.serve import serve as work  # noqa: PLC0415 — each command loads only what it needs

    try:
        run(work(settings_or_exit(service=name), name))
    except SettingsError as refused:
        click.echo(str(refused), err=True)
        sys.exit(2)


@main.command()
@click.option("--data", type=click.Path(file_okay=False, path_type=Path), default=DATA, show_default=True)
def dev(data: Path) -> None:
    """Run the whole product in one process, with nothing installed or configured."""
    from services.cli.processes.dev import dev as work  # noqa: PLC0415

    run(work(settings_or_exit(data_dir=data, service=EVERYTHING), data))


@main.command()
@click.argument("images", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--email", default="someone@example.com", show_default=True, help="Whose pictures these are.")
@click.option("--url", help="A running gateway. Without it, the product is brought up for this run.")
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), default=Path(), help="Where previews go.")
@click.option("--data", type=click.Path(file_okay=False, path_type=Path), default=DATA, show_default=True)
def process(images: tuple[Path, ...], email: str, url: str | None, out: Path, data: Path) -> None:
    """Process photos and save their watermarked previews. Exit status 1 where one failed."""
    from services.cli.client.process import process as work  # noqa: PLC0415

    settings = None if url else settings_or_exit(data_dir=data, quiet=True, service=EVERYTHING)
    sys.exit(run(work(images, email=email, url=url, out=out, settings=settings, data_dir=data)))


@main.command()
def migrate() -> None:
    """Bring the schema of DATABASE_URL up to date. Safe to run twice, and from two places at once."""
    from shared.database.migrate import migrate as work  # noqa: PLC0415

    settings = settings_or_exit()
    if not settings.database.database_url:
        raise click.UsageError("DATABASE_URL is not set")
    applied = work(settings.database.database_url)
    click.echo("\n".join(f"applied {name}" for name in applied) or "the schema is up to date")


@main.command()
def doctor() -> None:
    """Check the configuration and every connection, and say what is wrong. Exit status 1 where something is."""
    from services.cli.commands.doctor import doctor as work  # noqa: PLC0415

    # In production no place has all credentials: each is asked about what it has.
    service = COMMAND if os.environ.get("ENVIRONMENT") == "production" else EVERYTHING
    sys.exit(run(work(settings_or_exit(quiet=True, service=service))))


if __name__ == "__main__":
    main()
