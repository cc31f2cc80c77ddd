"""What every command shares: the configuration, the event loop, an operator's context, and how a refusal is said."""

import asyncio
import datetime as dt
import getpass
import os
import re
import sys
from collections.abc import Awaitable, Callable, Coroutine
from enum import StrEnum
from pathlib import Path
from typing import Any, TypeVar

import click
import msgspec
from rich.console import Console

from contracts.events import OWNER
from contracts.ops import Name, Reason
from shared.observability import configure_logging
from shared.settings import COMMAND, Settings, SettingsError, load

T = TypeVar("T")
E = TypeVar("E", bound=StrEnum)

DATA = Path(".darkroom")
"""Where `darkroom dev` keeps its data, its database included."""


def settings_or_exit(*, data_dir: Path = DATA, quiet: bool = False, service: str = COMMAND) -> Settings:
    """Read the configuration; where it is refused, say why in one message and leave with status 2."""
    try:
        settings = load(os.environ, data_dir=data_dir, service=service)
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


def database_url(settings: Settings) -> str:
    """Return the database's URL: the one that is set, or that of `darkroom dev` in this directory."""
    if settings.database.database_url:
        return settings.database.database_url
    if not (DATA / "postgres").is_dir():
        raise click.UsageError("DATABASE_URL is not set, and `darkroom dev` has not run in this directory")
    return database_of(DATA)


def database_of(data_dir: Path) -> str:
    """Start the embedded PostgreSQL of a data directory and return its URL. Raises ClickException with the reason."""
    from shared.database.embedded_postgres import start_embedded_postgres  # noqa: PLC0415 — only where it is wanted
    from shared.database.postgres_wheel import EmbeddedPostgresError  # noqa: PLC0415

    try:
        return start_embedded_postgres(data_dir / "postgres")
    except EmbeddedPostgresError as error:
        raise click.ClickException(str(error)) from error


def broker_url(settings: Settings) -> str:
    """Return the broker's URL."""
    if not settings.broker.amqp_url:
        raise click.UsageError("AMQP_URL is not set")
    return settings.broker.amqp_url


def run_command(work: Callable[[Any, Settings], Awaitable[T]]) -> T:
    """Run `work(context, settings)` as an operator. What cannot be done is said in one line, with status 1."""
    from psycopg import Error as DatabaseError  # noqa: PLC0415 — a process that only serves needs none of this
    from psycopg.errors import UndefinedColumn, UndefinedTable  # noqa: PLC0415
    from psycopg_pool import PoolTimeout  # noqa: PLC0415

    from shared.eventstore.group_commit import StoreUnavailableError  # noqa: PLC0415
    from shared.operations.context import open_operator_context  # noqa: PLC0415

    settings = settings_or_exit(quiet=True)
    url = database_url(settings)

    async def at_work() -> T:
        async with open_operator_context(url) as context:
            return await work(context, settings)

    try:
        return run(at_work())
    except (UndefinedTable, UndefinedColumn) as error:
        raise click.ClickException("the schema is not up to date: run `darkroom migrate`") from error
    except (DatabaseError, PoolTimeout, StoreUnavailableError) as error:
        raise click.ClickException(f"the database does not answer: {' '.join(str(error).split())}") from error


def out() -> Console:
    """Return a console that prints what it is given, in wide lines where no person but a program reads them."""
    width = None if sys.stdout.isatty() else 240
    return Console(width=width, highlight=False, markup=False, emoji=False)


def printable(text: str) -> str:
    """Return text as it is safe to print: what strangers wrote must not steer the terminal."""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


def interactive() -> bool:
    """Return whether a person can be asked."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def reason_or_ask(reason: str | None) -> str:
    """Return the reason, asked for where a person can be; operators' actions are kept with their reasons."""
    given = (reason or "").strip()
    if not given and interactive():
        given = str(click.prompt("Why", err=True)).strip()
    if not given:
        raise click.UsageError("--reason is needed: it is kept with what you do")
    return _plain(given, Reason, "--reason")


def _plain(given: str, kind: Any, option: str) -> str:
    try:
        return str(msgspec.convert(given, kind))
    except msgspec.ValidationError:
        message = f"{option} is too long, or has characters that cannot be seen"
        raise click.UsageError(message) from None


def confirm_or_exit(question: str, *, yes: bool) -> None:
    """Go on only with `--yes` or a person's word."""
    if yes:
        return
    if not interactive():
        raise click.UsageError("this cannot be undone: add --yes")
    click.confirm(question, abort=True, err=True)


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.getuid()}"


def _named(_: click.Context, __: click.Parameter, name: str | None) -> str:
    """Return who acts: the system's user, whatever else they call themselves."""
    user = _user()
    actor = f"system user {user}" if user == OWNER else user
    return actor if name in (None, user) else f"{_plain(str(name), Name, '--by')} (as {actor})"


by_option = click.option("--by", callback=_named, help="For whom you do this; your own user is kept in any case.")
reason_option = click.option("--reason", help="Why; asked for where it is not given.")


class OneOf(click.Choice[E]):
    """A choice by the members' values."""

    def normalize_choice(self, choice: object, ctx: click.Context | None) -> str:
        """Return what is written for a member."""
        del ctx
        return str(choice)


class Instant(click.ParamType[dt.datetime]):
    """A point in time: `2h`, `30m` or `7d` ago, or a date or time in ISO 8601 (UTC where it names no zone)."""

    name = "time"

    _AGO = re.compile(r"(\d+)\s*([smhdw])")
    _UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}  # noqa: RUF012 — never changed

    def convert(
        self, value: str | dt.datetime, param: click.Parameter | None, ctx: click.Context | None
    ) -> dt.datetime:
        """Read a point in time; a usage error where it is none."""
        if isinstance(value, dt.datetime):
            return value
        try:
            if ago := self._AGO.fullmatch(value.strip()):
                return dt.datetime.now(dt.UTC) - dt.timedelta(**{self._UNITS[ago[2]]: int(ago[1])})
            named = dt.datetime.fromisoformat(value.strip())
        except (ValueError, OverflowError):
            self.fail(f"{value!r} is no time: write 2h, 7d, 2026-01-31 or 2026-01-31T12:00", param, ctx)
        return named if named.tzinfo else named.replace(tzinfo=dt.UTC)
