"""Replaying all failed runs that match: estimate it, start it as a job, see how it stands, call it off."""

from uuid import UUID

import msgspec

from shared.eventstore.replay_jobs import NewJob, ReplayJob, Tally
from shared.projection.runs import FailedGroup, Selection, selected
from shared.replay.desk import Desk
from shared.replay.estimate import Estimate, estimate, stage_durations

DEFAULT_RATE = 10.0
"""Runs a second that a replay of many sets going."""
DEFAULT_STOP_AT = 0.5
"""Share of a batch's runs that may fail again before the replay stops by itself."""
RECENT = 5_000
"""Events that recent stage durations are taken from."""


class NothingSelectedError(Exception):
    """No failed run matches."""


class JobNotFoundError(Exception):
    """No replay job has this id."""

    def __init__(self, job_id: UUID) -> None:
        super().__init__(f"there is no replay job {job_id}")


class JobOverError(Exception):
    """The job replays nothing more, so there is nothing to call off."""

    def __init__(self, job: ReplayJob) -> None:
        super().__init__(f"replay job {job.id} is already {job.state}")


class Standing(msgspec.Struct, frozen=True):
    """A job and its runs counted by where they stand."""

    job: ReplayJob
    tally: Tally


async def estimate_bulk(desk: Desk, selection: Selection, *, rate: float, call_cost: float) -> Estimate:
    """Say what replaying the selection would do. Changes nothing."""
    groups = await desk.runs.failed_groups(selection)
    return await estimate_of(desk, groups, selection, rate=rate, call_cost=call_cost)


async def estimate_of(
    desk: Desk, groups: list[FailedGroup], selection: Selection, *, rate: float, call_cost: float
) -> Estimate:
    """Say what replaying runs that failed like this would do, going by what stages took lately."""
    durations = stage_durations(await desk.histories.latest(RECENT))
    return estimate(groups, from_stage=selection.from_stage, rate=rate, call_cost=call_cost, durations=durations)


async def start_bulk(
    desk: Desk, selection: Selection, *, by: str, reason: str, rate: float, stop_at: float
) -> ReplayJob:
    """Start a job over the runs that match now; a dispatcher takes it up. Raises NothingSelectedError, with no job."""
    job = NewJob(
        selection=msgspec.to_builtins(selection),
        from_stage=selection.from_stage,
        requested_by=by,
        reason=reason,
        rate=rate,
        stop_at=stop_at,
    )
    job_id = await desk.jobs.start(job, *selected(selection))
    if job_id is None:
        raise NothingSelectedError
    return (await standing(desk, job_id)).job


async def standing(desk: Desk, job_id: UUID) -> Standing:
    """Say how a job stands. Raises JobNotFoundError."""
    job = await desk.jobs.get(job_id)
    if job is None:
        raise JobNotFoundError(job_id)
    return Standing(job, await desk.jobs.tally(job_id))


async def cancel_bulk(desk: Desk, job_id: UUID, *, by: str, reason: str) -> Standing:
    """Have a job replay nothing more; runs under way go on. Raises JobNotFoundError, JobOverError."""
    if not await desk.jobs.cancel(job_id, who=by, why=reason):
        raise JobOverError((await standing(desk, job_id)).job)
    return await standing(desk, job_id)
