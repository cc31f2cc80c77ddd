"""`darkroom runs`: what an operator sees of runs, straight from the read model and the event store."""

import datetime as dt
from collections.abc import Sequence
from uuid import UUID

import click
from rich.table import Table

from contracts.events import Event, Stage, Status
from services.cli.console import Instant, OneOf, out, run_command
from shared.operations.context import OperatorContext
from shared.operations.replay import RunNotFoundError, find_run
from shared.operations.runs import RunFilter, place_of
from shared.operations.timeline import content_of
from shared.read_model.queries import UploadRow
from shared.settings import Settings

PAGE = 500
"""Rows read at a time."""


@click.group()
def runs() -> None:
    """Look at runs."""


@runs.command("list")
@click.option("--status", type=OneOf(Status), help="`pending` lists uploads that nobody has started yet.")
@click.option("--stage", type=OneOf(Stage))
@click.option("--code", help="Only failures with this code.")
@click.option("--since", type=Instant(), help="Such as 2h, 7d or 2026-01-31: when it failed, or else was uploaded.")
@click.option("--limit", type=click.IntRange(min=1), default=50, show_default=True)
def list_runs(
    status: Status | None, stage: Stage | None, code: str | None, since: dt.datetime | None, limit: int
) -> None:
    """List runs, the latest first: failed ones by when they failed, others by when they were uploaded."""
    wanted = RunFilter(status=status, stage=stage, code=code, since=since)

    async def work(context: OperatorContext, _: Settings) -> list[UploadRow]:
        rows: list[UploadRow] = []
        while len(rows) < limit:
            after = place_of(rows[-1], wanted) if rows else None
            page = await context.runs.page(wanted, limit=min(PAGE, limit - len(rows)), after=after)
            rows += page
            if not page:
                break
        return rows

    _print_rows(run_command(work))


@runs.command("show")
@click.argument("run_or_upload", type=click.UUID, metavar="RUN")
def show_run(run_or_upload: UUID) -> None:
    """Show a run's events, oldest first, by its id or its upload's."""

    async def work(context: OperatorContext, _: Settings) -> tuple[UploadRow, Sequence[Event]]:
        row = await find_run(context, run_or_upload)
        return row, await context.store.history(row.id, wait=5)

    try:
        row, events = run_command(work)
    except RunNotFoundError as unknown:
        raise click.ClickException(str(unknown)) from unknown
    _print_events(row, events)


def _print_rows(rows: Sequence[UploadRow]) -> None:
    table = Table("run", "upload", "status", "stage", "attempt", "error", "changed")
    for row in rows:
        error = f"{row.error_code}{' (retryable)' if row.error_retryable else ''}" if row.error_code else ""
        changed = row.updated_at.isoformat(timespec="seconds")
        table.add_row(
            str(row.workflow_run_id or ""), str(row.id), row.status, row.stage or "", str(row.attempt), error, changed
        )
    out().print(table)


def _print_events(row: UploadRow, events: Sequence[Event]) -> None:
    console = out()
    console.print(f"upload {row.id}   run {row.workflow_run_id}   {row.status} at {row.stage}, attempt {row.attempt}")
    table = Table("#", "when", "attempt", "event", "what")
    for event in events:
        what = "  ".join(f"{name}={value}" for name, value in content_of(event).items())
        when = event.occurred_at.isoformat(timespec="milliseconds")
        table.add_row(str(event.version), when, str(getattr(event, "attempt", "")), type(event).__name__, what)
    console.print(table)
