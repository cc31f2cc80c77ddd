"""`darkroom dead-letters`: what could not even be read or appended: look at it, put it back, throw it away."""

import datetime as dt
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TypeVar

import click
from rich.table import Table

from services.cli.console import (
    broker_url,
    by_option,
    confirm_or_exit,
    out,
    printable,
    reason_option,
    reason_or_ask,
    run,
    run_command,
    settings_or_exit,
)
from shared.clock import utc_now
from shared.messaging.dead_letter_queues import DeadLetters, UnknownQueueError, named, open_dead_letters
from shared.messaging.message import TransportDownError
from shared.operations.context import OperatorContext
from shared.operations.dead_letters import purge_audited, redrive_audited
from shared.settings import Settings

T = TypeVar("T")


@click.group()
def dead_letters() -> None:
    """Handle messages that nobody could read."""


def _checked(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    try:
        named(value)
    except UnknownQueueError as unknown:
        raise click.BadParameter(str(unknown), ctx, param) from unknown
    return value


queue_argument = click.argument("queue", required=False, callback=_checked)
limit_option = partial(click.option, "--limit", type=click.IntRange(min=1))


@dead_letters.command("list")
@queue_argument
def list_queues(queue: str | None) -> None:
    """Count the dead letters of every queue, or of one, with their reasons and the age of the oldest."""
    table = Table("queue", "messages", "oldest", "reasons")
    for each in _look(lambda letters: letters.overview(queue)):
        reasons = ", ".join(f"{printable(reason)} ({number})" for reason, number in each.reasons.items())
        table.add_row(each.queue, str(each.messages), _age(each.oldest), reasons)
    out().print(table)


@dead_letters.command("show")
@queue_argument
@limit_option(default=20, show_default=True)
def show_letters(queue: str | None, limit: int) -> None:
    """Show dead letters, the oldest first. They stay where they are."""
    console = out()
    for letter in _look(lambda letters: letters.show(queue, limit=limit)):
        name = f"{letter.message_id or 'no id'}  {letter.type or 'no type'}"
        console.print(printable(f"{letter.queue}  {name}  {_age(letter.since)}"))
        console.print(f"  {printable(letter.reason)}\n  {printable(letter.body)}")


@dead_letters.command("redrive")
@queue_argument
@limit_option(help="No more than this; all that are there by default.")
@reason_option
@by_option
def redrive_letters(queue: str | None, limit: int | None, reason: str | None, by: str) -> None:
    """Put dead letters back into the queues that they died in."""
    why = reason_or_ask(reason)
    _print_counts(_act(partial(redrive_audited, queue=queue, limit=limit, by=by, reason=why)), "put back")


@dead_letters.command("purge")
@queue_argument
@click.option("--yes", is_flag=True, help="Do not ask.")
@reason_option
@by_option
def purge_letters(queue: str | None, yes: bool, reason: str | None, by: str) -> None:  # noqa: FBT001 — click's way
    """Throw dead letters away. They are gone for good."""
    why = reason_or_ask(reason)
    confirm_or_exit(f"Throw away the dead letters of {queue or 'all queues'}?", yes=yes)
    _print_counts(_act(partial(purge_audited, queue=queue, by=by, reason=why)), "thrown away")


def _look(work: Callable[[DeadLetters], Awaitable[T]]) -> T:
    url = broker_url(settings_or_exit(quiet=True))

    async def at_work() -> T:
        async with open_dead_letters(url) as letters:
            return await work(letters)

    return _or_exit(lambda: run(at_work()))


def _act(work: Callable[[OperatorContext, DeadLetters], Awaitable[T]]) -> T:
    """Do something that is noted in the operators' log, for which the database has to be there too."""

    async def at_work(context: OperatorContext, settings: Settings) -> T:
        async with open_dead_letters(broker_url(settings)) as letters:
            return await work(context, letters)

    return _or_exit(lambda: run_command(at_work))


def _or_exit(work: Callable[[], T]) -> T:
    try:
        return work()
    except TransportDownError as away:
        raise click.ClickException(str(away)) from away


def _print_counts(counts: dict[str, int], done: str) -> None:
    for queue, number in counts.items():
        if number:
            click.echo(f"{queue}: {number} {done}")
    if not any(counts.values()):
        click.echo("there are no dead letters")


def _age(since: dt.datetime | None) -> str:
    if since is None:
        return ""
    seconds = int((utc_now() - since).total_seconds())
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"
