"""The choreography on one screen: which stage consumes what, what it may emit, and how long and how often it tries.

A stage is due when the aggregate says so (`Upload.stage`); the message only wakes it. Times are in seconds.
"""

import datetime as dt

import msgspec

from contracts.events import (
    EVENT_TYPES,
    Event,
    GenerationStarted,
    ImageGenerated,
    ImageValidated,
    PreviewWatermarked,
    ProcessingCompleted,
    ProcessingFailed,
    ProcessingRequested,
    ReplayRequested,
    ResultStored,
    RunEvent,
    Stage,
    StageAttemptFailed,
)


class StageSpec(msgspec.Struct, frozen=True, kw_only=True):
    """One row of the saga: the contract of a stage with all others.

    `queue` is the stage's name everywhere: folder, process, queue, metric label. `progress` is what a client sees while
    the stage is at work. `timeout` bounds one attempt; `attempts` counts the first one. Backoff doubles from
    `backoff` up to `backoff_max`. `concurrency` is how many messages one process handles at once, `typical`
    how long an attempt takes where nothing recent says otherwise.
    """

    stage: Stage
    queue: str
    consumes: type[RunEvent]
    emits: tuple[type[RunEvent], ...]
    progress: int
    timeout: float
    attempts: int
    backoff: float
    backoff_max: float
    concurrency: int
    typical: float


SAGA: dict[Stage, StageSpec] = {
    row.stage: row
    for row in (
        StageSpec(
            stage=Stage.VALIDATING,
            queue="validator",
            consumes=ProcessingRequested,
            emits=(ImageValidated,),
            progress=5,
            timeout=60,
            attempts=5,
            backoff=1,
            backoff_max=30,
            concurrency=32,
            typical=1,
        ),
        StageSpec(
            stage=Stage.GENERATING,
            queue="generator",
            consumes=ImageValidated,
            emits=(GenerationStarted, ImageGenerated),
            progress=20,
            timeout=200,
            attempts=5,
            backoff=2,
            backoff_max=60,
            concurrency=32,
            typical=75,
        ),
        StageSpec(
            stage=Stage.STORING,
            queue="storer",
            consumes=ImageGenerated,
            emits=(ResultStored,),
            progress=80,
            timeout=60,
            attempts=6,
            backoff=1,
            backoff_max=30,
            concurrency=32,
            typical=1,
        ),
        StageSpec(
            stage=Stage.WATERMARKING,
            queue="watermarker",
            consumes=ResultStored,
            emits=(PreviewWatermarked, ProcessingCompleted),
            progress=90,
            timeout=60,
            attempts=6,
            backoff=1,
            backoff_max=30,
            concurrency=32,
            typical=2,
        ),
    )
}

STAGES: tuple[Stage, ...] = tuple(SAGA)
STAGE_OF_QUEUE: dict[str, Stage] = {row.queue: stage for stage, row in SAGA.items()}
ANALYTICS_QUEUE = "analytics"

_COUNTED = (ProcessingRequested, ProcessingCompleted, ProcessingFailed)
"""What analytics hears of."""


def _route(kind: type[Event]) -> tuple[str, ...]:
    queues = [row.queue for row in SAGA.values() if row.consumes is kind]
    return (*queues, ANALYTICS_QUEUE) if kind in _COUNTED else tuple(queues)


ROUTES: dict[type[Event], tuple[str, ...]] = {kind: _route(kind) for kind in EVENT_TYPES}
"""Who gets an event through the topic exchange: the stage that works from it, and analytics.

An event with an empty row is wanted by no queue, so that an unroutable message is always a fault. StageAttemptFailed
and ReplayRequested go straight to the queue of their stage.
"""

SERVICES: tuple[str, ...] = ("gateway", *STAGE_OF_QUEUE, "dispatcher", ANALYTICS_QUEUE)
"""All services, by the name of their folder: each is a process."""

RUN_DEADLINE = dt.timedelta(minutes=30)
"""A run that has not ended this long after it was asked for (or replayed) fails with TIMED_OUT."""

OWNER_RETRIES = 5
"""How often an upload's owner may resume its failed run, in all: enough for trouble that passes. Each retry has all
attempts of its stage, so without a bound one token could keep a run that always fails busy for ever."""

RUN_CHECK_INTERVAL = dt.timedelta(seconds=15)
"""How often a run under way is looked at, at the latest, for a stage that went silent or a deadline that passed."""


def next_stage(stage: Stage) -> Stage:
    """Return the stage that follows; `complete` after the last."""
    position = STAGES.index(stage) + 1
    return STAGES[position] if position < len(STAGES) else Stage.COMPLETE


def direct_queue(event: Event) -> str | None:
    """Name the queue of the one stage that an event is addressed to, or None where the exchange routes it."""
    if isinstance(event, StageAttemptFailed):
        return SAGA[event.stage].queue
    if isinstance(event, ReplayRequested):
        return SAGA[event.from_stage].queue
    return None
