"""`darkroom replay`: resume failed runs, a few by their ids or all that match as a job, and look after such jobs."""

import datetime as dt
from collections.abc import Callable
from functools import partial
from typing import TypeVar
from uuid import UUID

import click
from rich.table import Table

from contracts.events import Stage
from services.cli.commands.replay_progress import print_estimate, print_progress
from services.cli.commands.replay_start import estimate_selected, replay_named, replay_selected
from services.cli.console import (
    Instant,
    OneOf,
    by_option,
    confirm_or_exit,
    interactive,
    out,
    reason_option,
    reason_or_ask,
    run_command,
)
from shared.operations.bulk_replay import (
    DEFAULT_AT_ONCE,
    DEFAULT_RATE,
    DEFAULT_STOP_AT,
    Pacing,
    ReplayJobNotFoundError,
    ReplayJobOverError,
    ReplayProgress,
    cancel_bulk,
    replay_progress,
)
from shared.operations.context import OperatorContext
from shared.operations.replay_jobs import ReplayItem
from shared.operations.runs import Selection
from shared.settings import Settings
from shared.upload.saga import STAGES

T = TypeVar("T")

PAGE = 1_000
"""A job's runs read at a time."""


class _ReplayGroup(click.Group):
    """`darkroom replay RUN…` and `darkroom replay --failed` mean `darkroom replay start …`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put `start` before what is neither a command of the group nor a call for help."""
        if args and args[0] not in {*self.commands, "-h", "--help"}:
            args = ["start", *args]
        return super().parse_args(ctx, args)


@click.group(cls=_ReplayGroup)
def replay() -> None:
    """Resume failed runs: `replay RUN…`, or `replay --failed` for all that match (see `replay start --help`)."""


stage_option = partial(click.option, type=OneOf(STAGES))


@replay.command("start")
@click.argument("runs", nargs=-1, type=click.UUID, metavar="[RUN]...")
@click.option("--failed", is_flag=True, help="All failed runs that match, as a job.")
@stage_option("--stage", help="With --failed: only those that failed at this stage.")
@click.option("--code", help="With --failed: only those that failed with this code.")
@click.option("--since", type=Instant(), help="With --failed: only those that failed since, such as 2h or 2026-01-31.")
@click.option("--limit", type=click.IntRange(min=1), help="With --failed: no more than this, the oldest first.")
@click.option("--retryable", is_flag=True, help="With --failed: only failures that may pass by themselves.")
@stage_option("--from-stage", help="Go back further than the stage that failed.")
@click.option("--dry-run", is_flag=True, help="Say what would happen, and what it might cost; change nothing.")
@click.option("--rate", type=click.FloatRange(min=0, min_open=True), default=DEFAULT_RATE, show_default=True,
              help="Runs set going a second, at most.")  # fmt: skip
@click.option("--at-once", type=click.IntRange(min=1), default=DEFAULT_AT_ONCE, show_default=True,
              help="Runs under way, at most.")  # fmt: skip
@click.option("--stop-at", type=click.FloatRange(0, 1), default=DEFAULT_STOP_AT, show_default=True,
              help="Stop where more than this share of a batch fails again.")  # fmt: skip
@click.option("--detach", is_flag=True, help="Leave the job to the dispatcher, without waiting for its end.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@reason_option
@by_option
def start(  # noqa: PLR0913 — a command has the options that it has
    runs: tuple[UUID, ...], *, failed: bool, stage: Stage | None, code: str | None, since: dt.datetime | None,
    limit: int | None, retryable: bool, from_stage: Stage | None, dry_run: bool, rate: float, at_once: int,
    stop_at: float, detach: bool, yes: bool, reason: str | None, by: str,
) -> None:  # fmt: skip
    """Resume failed runs where they failed, each as its next attempt; what earlier stages made is used again.

    RUN is the id of a run or of its upload. With --failed all runs that match are replayed as a job: first one, then
    10, then 100 and so on, each batch once the one before has ended.
    """
    filters = {"--stage": stage, "--code": code, "--since": since, "--limit": limit, "--retryable": retryable or None}
    if runs and (failed or any(value is not None for value in filters.values())):
        raise click.UsageError("name runs, or select with --failed: not both")
    if not runs and not failed:
        raise click.UsageError("name the runs to replay, or select them with --failed")
    pacing = Pacing(rate=rate, at_once=at_once, stop_at=stop_at)
    if runs:
        replay_named(tuple(dict.fromkeys(runs)), from_stage, pacing, dry_run=dry_run, reason=reason, by=by)
        return
    selection = Selection(
        stage=stage, code=code, since=since, retryable_only=retryable, from_stage=from_stage, limit=limit
    )
    why = "" if dry_run else reason_or_ask(reason)
    print_estimate(estimate_selected(selection, pacing), out())
    if not dry_run:
        if interactive():
            confirm_or_exit("Replay them?", yes=yes)
        replay_selected(selection, pacing, reason=why, by=by, detach=detach)


@replay.command("list")
@click.option("--limit", type=click.IntRange(min=1), default=20, show_default=True)
def list_jobs(limit: int) -> None:
    """List replay jobs, the latest first."""

    async def work(context: OperatorContext, _: Settings) -> list[ReplayProgress]:
        return [ReplayProgress(job, await context.jobs.tally(job.id)) for job in await context.jobs.latest(limit)]

    table = Table("job", "state", "runs", "completed", "failed", "open", "started", "by", "why")
    for each in run_command(work):
        job, tally = each.job, each.tally
        counts = (str(job.total), str(tally.completed), str(tally.failed), str(tally.open))
        table.add_row(
            str(job.id), job.state, *counts, job.created_at.isoformat(timespec="seconds"), job.requested_by, job.reason
        )
    out().print(table)


@replay.command("show")
@click.argument("job_id", type=click.UUID, metavar="JOB")
def show_job(job_id: UUID) -> None:
    """Show how a job stands and what came of each of its runs."""

    async def work(context: OperatorContext, _: Settings) -> tuple[ReplayProgress, list[ReplayItem]]:
        found = await replay_progress(context, job_id)
        items: list[ReplayItem] = []
        while page := await context.jobs.items(job_id, limit=PAGE, after=items[-1].position if items else 0):
            items += page
        return found, items

    found, items = _of_job(lambda: run_command(work))
    print_progress(found, out())
    table = Table("#", "batch", "run", "upload", "attempt", "outcome", "code")
    for item in items:
        ids = (str(item.workflow_run_id), str(item.upload_id), str(item.attempt))
        table.add_row(str(item.position), str(item.batch), *ids, item.state, item.code or "")
    out().print(table)


@replay.command("cancel")
@click.argument("job_id", type=click.UUID, metavar="JOB")
@reason_option
@by_option
def cancel_job(job_id: UUID, reason: str | None, by: str) -> None:
    """Have a job replay nothing more. Runs that are under way go on."""
    why = reason_or_ask(reason)

    async def work(context: OperatorContext, _: Settings) -> ReplayProgress:
        return await cancel_bulk(context, job_id, by=by, reason=why)

    print_progress(_of_job(lambda: run_command(work)), out())


def _of_job(work: Callable[[], T]) -> T:
    """Look for a job; what cannot be done with it is said in one line."""
    try:
        return work()
    except (ReplayJobNotFoundError, ReplayJobOverError) as refused:
        raise click.ClickException(str(refused)) from refused
