"""What `darkroom replay` does with runs that are named, and with all that match."""

import sys
from collections.abc import Sequence
from functools import partial
from uuid import UUID

import click
import msgspec

from contracts.events import Stage
from contracts.ops import Estimate, FailedGroup
from services.cli.commands.replay_progress import exit_status, follow, print_estimate, print_progress
from services.cli.console import interactive, out, reason_or_ask, run_command
from shared.operations.bulk_replay import (
    NothingSelectedError,
    Pacing,
    ReplayJobOverError,
    ReplayProgress,
    cancel_bulk,
    estimate_bulk,
    estimate_of,
    replay_progress,
    start_bulk,
)
from shared.operations.context import OperatorContext
from shared.operations.replay import RunNotFoundError, as_failed, grouped, replay_one
from shared.operations.replay_jobs import ReplayJob
from shared.operations.runs import Selection
from shared.settings import Settings
from shared.upload.errors import NotReplayableError


class _Named(msgspec.Struct):
    """Runs that were named: the uploads of those that can be replayed, how they failed, and why others cannot be."""

    uploads: list[UUID] = []
    failures: list[FailedGroup] = []
    refusals: list[str] = []


def replay_named(
    runs: Sequence[UUID], from_stage: Stage | None, pacing: Pacing, *, dry_run: bool, reason: str | None, by: str
) -> None:
    """Replay runs by their ids; where one of them cannot be replayed, none is."""
    named, said = run_command(partial(_look_at, runs, from_stage, pacing))
    if named.refusals:
        raise click.ClickException("\n".join((*named.refusals, "nothing was replayed")))
    if dry_run:
        print_estimate(said, out())
        return
    why = reason_or_ask(reason)

    async def work(context: OperatorContext, _: Settings) -> None:
        for upload_id in named.uploads:
            event = await replay_one(context, upload_id, from_stage=from_stage, by=by, reason=why)
            click.echo(f"run {event.workflow_run_id} goes on at {event.from_stage} as attempt {event.attempt}")

    try:
        run_command(work)
    except NotReplayableError as refused:  # somebody else was faster
        raise click.ClickException(str(refused)) from refused


def estimate_selected(selection: Selection, pacing: Pacing) -> Estimate:
    """Return what replaying all that match would do. Changes nothing."""

    async def work(context: OperatorContext, settings: Settings) -> Estimate:
        return await estimate_bulk(context, selection, pacing, call_cost=settings.operators.provider_call_cost)

    return run_command(work)


def replay_selected(selection: Selection, pacing: Pacing, *, reason: str, by: str, detach: bool) -> None:
    """Start a job over all that match and, unless detached, wait for its end."""

    async def work(context: OperatorContext, _: Settings) -> ReplayJob:
        return await start_bulk(context, selection, pacing, by=by, reason=reason)

    try:
        job = run_command(work)
    except NothingSelectedError as nothing:
        raise click.ClickException("no failed run matches; nothing was replayed") from nothing
    click.echo(f"replay job {job.id}: {job.total} runs")
    if detach:
        return
    end = run_command(partial(follow, job.id))
    if end is None:
        sys.exit(_interrupted(job.id, by=by))
    print_progress(end, out())
    sys.exit(exit_status(end))


async def _look_at(
    runs: Sequence[UUID], from_stage: Stage | None, pacing: Pacing, context: OperatorContext, settings: Settings
) -> tuple[_Named, Estimate]:
    named = _Named()
    for run in runs:
        try:
            upload_id, failure = await as_failed(context, run, from_stage=from_stage)
        except (RunNotFoundError, NotReplayableError) as refused:
            named.refusals.append(str(refused))
        else:
            if upload_id not in named.uploads:  # a run's id and its upload's name the same
                named.uploads.append(upload_id)
                named.failures.append(failure)
    cost = settings.operators.provider_call_cost
    said = await estimate_of(context, grouped(named.failures), pacing, from_stage=from_stage, call_cost=cost)
    return named, said


def _interrupted(job_id: UUID, *, by: str) -> int:
    """At Ctrl-C: ask whether to cancel the job; where nobody can be asked, cancel it. Returns the exit status."""
    if interactive() and not click.confirm("\nCancel the job? Without, it goes on by itself", default=True, err=True):
        click.echo(f"it goes on: darkroom replay show {job_id}")
        return 0

    async def work(context: OperatorContext, _: Settings) -> ReplayProgress:
        try:
            return await cancel_bulk(context, job_id, by=by, reason="interrupted")
        except ReplayJobOverError:
            return await replay_progress(context, job_id)

    print_progress(run_command(work), out())
    return 130
