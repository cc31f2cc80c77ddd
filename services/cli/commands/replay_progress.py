"""A replay job as a person watches it: progress while it lasts, and how it stands in words."""

import asyncio
import signal
from uuid import UUID

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from contracts.ops import Estimate
from shared.operations.bulk_replay import ReplayProgress, replay_progress
from shared.operations.context import OperatorContext
from shared.settings import Settings

LOOK = 0.5
"""Seconds between looks at the job."""
PATIENCE = 15.0
"""Seconds without any run replayed before a person is told that perhaps nobody is at work."""


async def follow(job_id: UUID, context: OperatorContext, _: Settings) -> ReplayProgress | None:
    """Show a job's progress until it is over, and return how it ended; None where the person pressed Ctrl-C."""
    interrupted = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGINT, interrupted.set)
    try:
        with _progress() as progress:
            return await _watch(job_id, context, progress, interrupted)
    finally:
        loop.remove_signal_handler(signal.SIGINT)


async def _watch(
    job_id: UUID, context: OperatorContext, progress: Progress, interrupted: asyncio.Event
) -> ReplayProgress | None:
    bar = progress.add_task("", total=None)
    loop = asyncio.get_running_loop()
    began, told = loop.time(), False
    while not interrupted.is_set():
        now = await replay_progress(context, job_id)
        tally = now.tally
        done = tally.completed + tally.failed + tally.skipped + tally.cancelled
        counts = f"{tally.completed} completed, {tally.failed} failed, {tally.requested} under way"
        progress.update(bar, description=f"batch {now.job.batch}: {counts}", completed=done, total=now.job.total)
        if now.job.ended_at is not None:
            return now
        if not told and not tally.begun and loop.time() - began > PATIENCE:
            told = True
            progress.console.print("nothing has begun yet: is a dispatcher running?")
        try:
            await asyncio.wait_for(interrupted.wait(), LOOK)
        except TimeoutError:
            continue
    return None


def _progress() -> Progress:
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(bar_width=24), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*columns, console=console, disable=not console.is_terminal)


def print_progress(now: ReplayProgress, console: Console) -> None:
    """Say in a few lines how a job stands."""
    job, tally = now.job, now.tally
    ending = "" if job.ended_at or job.state == "running" else ", and what is under way goes on"
    why = f": {job.why}" if job.why else ""
    console.print(f"job {job.id} is {job.state}{why}{ending}")
    counts = {
        "completed": tally.completed,
        "failed again": tally.failed,
        "under way": tally.requested,
        "waiting": tally.waiting,
        "could not be replayed": tally.skipped,
        "left out": tally.cancelled,
    }
    console.print(f"{job.total} runs: " + ", ".join(f"{number} {word}" for word, number in counts.items() if number))


def exit_status(end: ReplayProgress) -> int:
    """Return 0 where every run completed, else 1."""
    return 0 if end.tally.completed == end.job.total else 1


def print_estimate(said: Estimate, console: Console) -> None:
    """Print what a replay would do."""
    console.print(f"{said.runs} failed runs would be replayed" if said.runs != 1 else "1 failed run would be replayed")
    if not said.runs:
        return
    table = Table("failed at", "code", "may pass", "runs")
    for group in said.groups:
        table.add_row(str(group.stage), group.code, "yes" if group.retryable else "no", str(group.runs))
    console.print(table)
    console.print(f"calls of the AI provider: {said.provider_calls}, about ${said.cost:.2f} (estimate)")
    console.print(f"time: about {_spoken(said.seconds)} (estimate)")


def _spoken(seconds: float) -> str:
    if seconds < 100:  # noqa: PLR2004 — below this, minutes are too coarse
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes / 60:.1f} h"  # noqa: PLR2004 — likewise for hours
