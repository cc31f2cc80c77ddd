"""Replaying all failed runs that match: estimate it, start it as a job, see how it stands, call it off."""

from typing import Annotated
from uuid import UUID

import msgspec

from contracts.events import Stage
from contracts.ops import Estimate, FailedGroup, Tally
from shared.operations.context import OperatorContext
from shared.operations.estimate import estimate, stage_durations
from shared.operations.replay_jobs import NewJob, ReplayJob
from shared.operations.runs import Selection, selected

DEFAULT_RATE = 10.0
"""Runs a second that a replay of many sets going."""
DEFAULT_AT_ONCE = 100
"""Runs of a replay of many under way at most: a live upload waits behind no more, and none of them times out."""
DEFAULT_STOP_AT = 0.5
"""Share of a batch's runs that may fail again before the replay stops by itself."""
RECENT = 5_000
"""Events that recent stage durations are taken from."""


class Pacing(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How fast a replay of many goes, and the share of failures in a batch beyond which it stops by itself."""

    rate: Annotated[float, msgspec.Meta(gt=0)] = DEFAULT_RATE
    at_once: Annotated[int, msgspec.Meta(ge=1)] = DEFAULT_AT_ONCE
    stop_at: Annotated[float, msgspec.Meta(ge=0, le=1)] = DEFAULT_STOP_AT


class NothingSelectedError(Exception):
    """No failed run matches."""


class ReplayJobNotFoundError(Exception):
    """No replay job has this id."""

    def __init__(self, job_id: UUID) -> None:
        super().__init__(f"there is no replay job {job_id}")


class ReplayJobOverError(Exception):
    """The job replays nothing more, so there is nothing to call off."""

    def __init__(self, job: ReplayJob) -> None:
        super().__init__(f"replay job {job.id} is already {job.state}")


class ReplayProgress(msgspec.Struct, frozen=True):
    """A job and its runs counted by where they stand."""

    job: ReplayJob
    tally: Tally


async def estimate_bulk(
    context: OperatorContext, selection: Selection, pacing: Pacing, *, call_cost: float
) -> Estimate:
    """Return what replaying the selection would do. Changes nothing."""
    groups = await context.runs.failed_groups(selection)
    return await estimate_of(context, groups, pacing, from_stage=selection.from_stage, call_cost=call_cost)


async def estimate_of(
    context: OperatorContext, groups: list[FailedGroup], pacing: Pacing, *, from_stage: Stage | None, call_cost: float
) -> Estimate:
    """Return what replaying runs that failed like this would do, going by what stages took lately."""
    durations = stage_durations(await context.stream_reader.latest(RECENT))
    return estimate(
        groups,
        from_stage=from_stage,
        rate=pacing.rate,
        at_once=pacing.at_once,
        call_cost=call_cost,
        durations=durations,
    )


async def start_bulk(
    context: OperatorContext, selection: Selection, pacing: Pacing, *, by: str, reason: str
) -> ReplayJob:
    """Start a job over the runs that match now; a dispatcher takes it up. Raises NothingSelectedError, with no job."""
    job = NewJob(
        selection=msgspec.to_builtins(selection),
        from_stage=selection.from_stage,
        requested_by=by,
        reason=reason,
        rate=pacing.rate,
        at_once=pacing.at_once,
        stop_at=pacing.stop_at,
    )
    job_id = await context.jobs.start(job, *selected(selection))
    if job_id is None:
        raise NothingSelectedError
    return (await replay_progress(context, job_id)).job


async def replay_progress(context: OperatorContext, job_id: UUID) -> ReplayProgress:
    """Return how a job stands. Raises ReplayJobNotFoundError."""
    job = await context.jobs.get(job_id)
    if job is None:
        raise ReplayJobNotFoundError(job_id)
    return ReplayProgress(job, await context.jobs.tally(job_id))


async def cancel_bulk(context: OperatorContext, job_id: UUID, *, by: str, reason: str) -> ReplayProgress:
    """Have a job replay nothing more; runs under way go on. Raises JobNotFoundError, JobOverError."""
    if not await context.jobs.cancel(job_id, who=by, why=reason):
        raise ReplayJobOverError((await replay_progress(context, job_id)).job)
    return await replay_progress(context, job_id)
