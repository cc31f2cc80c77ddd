"""What a replay would do, before it does: how many runs, what calls of the AI provider, and about how long. Pure."""

from collections.abc import Iterable, Sequence
from statistics import median

from contracts.events import (
    Event,
    ProcessingFailed,
    ProcessingRequested,
    ReplayRequested,
    Stage,
)
from contracts.ops import Estimate, FailedGroup
from shared.operations.ramp import batch_sizes
from shared.operations.runs import stages_from
from shared.upload.saga import SAGA, STAGES

_ENDS: dict[type, Stage] = {row.emits[-1]: stage for stage, row in SAGA.items()}
_MARKS: tuple[type, ...] = (ProcessingRequested, ReplayRequested, ProcessingFailed, *_ENDS)


def estimate(
    groups: Sequence[FailedGroup],
    *,
    from_stage: Stage | None,
    rate: float,
    at_once: int,
    call_cost: float,
    durations: dict[Stage, float],
) -> Estimate:
    """Estimate the replay of runs that failed like this, on the ramp: `rate` runs a second, `at_once` under way."""
    runs = sum(group.runs for group in groups)
    calls = sum(group.runs for group in groups if Stage.GENERATING in stages_from(from_stage or group.stage))
    longest = max((_remaining(from_stage or group.stage, durations) for group in groups), default=0.0)
    return Estimate(
        runs=runs,
        groups=list(groups),
        provider_calls=calls,
        cost=calls * call_cost,
        seconds=sum(size / min(rate, at_once / max(longest, 0.001)) + longest for size in batch_sizes(runs)),
    )


def stage_durations(events: Iterable[Event]) -> dict[Stage, float]:
    """Return the median of the seconds that each stage took, retries included; `typical` for one that did not.

    Each upload's events come together and in order; the first may be missing.
    """
    took: dict[Stage, list[float]] = {stage: [] for stage in STAGES}
    last: Event | None = None
    for event in events:
        if not isinstance(event, _MARKS):
            continue
        if (stage := _ENDS.get(type(event))) is not None and last is not None and last.upload_id == event.upload_id:
            took[stage].append((event.occurred_at - last.occurred_at).total_seconds())
        last = None if isinstance(event, ProcessingFailed) else event
    return {stage: median(seconds) if seconds else SAGA[stage].typical for stage, seconds in took.items()}


def _remaining(stage: Stage, durations: dict[Stage, float]) -> float:
    return sum(durations[later] for later in stages_from(stage))
