"""Bodies of the operators' interface `/api/ops/*`: JSON, camelCase. Instants are RFC 3339 UTC, costs in US dollars."""

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec

from contracts.events import Stage, Status
from contracts.http import RunError

# Kept and shown to people: no control characters, and nothing that turns or hides text. Spelt out, because `\s` is not
# the same set in Python and in the JavaScript that JSON Schema goes by.
_HIDDEN = r"\u0000-\u001f\u007f-\u009f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff"
_TEXT = rf"^(?=.*[^ {_HIDDEN}])[^{_HIDDEN}]*$"
Reason = Annotated[str, msgspec.Meta(min_length=1, max_length=500, pattern=_TEXT)]
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=100, pattern=_TEXT)]
JobState = Literal["running", "stopped", "cancelled", "done"]
ItemState = Literal["waiting", "requested", "completed", "failed", "skipped", "cancelled"]


class _Body(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A JSON object with camelCase names."""


class _Request(_Body, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A body that an operator sends; a member that is not known is refused rather than ignored."""


class _Action(_Request, frozen=True, kw_only=True):
    """Something that is kept with its reason. Who did it is who sent the token."""

    reason: Reason


class Run(_Body, frozen=True, kw_only=True):
    """One run as the read model has it; `workflow_run_id` is null where nobody has started it yet."""

    upload_id: UUID
    workflow_run_id: UUID | None
    status: Status
    stage: Stage | None
    progress: int
    attempt: int
    error: RunError | None
    created_at: datetime
    updated_at: datetime


class RunPage(_Body, frozen=True, kw_only=True):
    """200 of `GET /api/ops/runs`. `next` is the `cursor` of the page after this, null at the end."""

    runs: list[Run]
    next: str | None


class TimelineEvent(_Body, frozen=True, kw_only=True):
    """One event of an upload. `content` is what it says beyond this; what names the person is left out."""

    version: int
    type: str
    occurred_at: datetime
    attempt: int | None
    content: dict[str, Any]


class RunTimeline(_Body, frozen=True, kw_only=True):
    """200 of `GET /api/ops/runs/{id}`: every event of the upload, oldest first."""

    run: Run
    events: list[TimelineEvent]


class ReplayRun(_Action, frozen=True, kw_only=True):
    """Body of `POST /api/ops/runs/{id}/replay`. Without `from_stage` the run goes on where it failed."""

    from_stage: Stage | None = None


class RunReplayed(_Body, frozen=True, kw_only=True):
    """202 of `POST /api/ops/runs/{id}/replay`."""

    upload_id: UUID
    workflow_run_id: UUID
    attempt: int
    from_stage: Stage


class ReplayMany(_Request, frozen=True, kw_only=True):
    """Body of `POST /api/ops/replays`: which failed runs, how fast, and why. With `dry_run` nothing but an estimate.

    At most `rate` runs a second are set going and `at_once` are under way. Where a share of more than `stop_at` of a
    batch fails again, the replay stops by itself.
    """

    stage: Stage | None = None
    code: str | None = None
    since: datetime | None = None
    limit: Annotated[int, msgspec.Meta(ge=1)] | None = None
    retryable_only: bool = False
    from_stage: Stage | None = None
    rate: Annotated[float, msgspec.Meta(gt=0)] = 10.0
    at_once: Annotated[int, msgspec.Meta(ge=1)] = 100
    stop_at: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.5
    dry_run: bool = False
    reason: Reason | None = None


class FailedGroup(_Body, frozen=True, kw_only=True):
    """How many runs failed at one stage with one code; `retryable` says whether the failure may pass."""

    stage: Stage
    code: str
    retryable: bool
    runs: int


class Estimate(_Body, frozen=True, kw_only=True):
    """What a replay would do. `seconds` assumes that the workers keep up.

    `provider_calls` counts one for each run that has to be generated (again); retries would come on top.
    """

    runs: int
    groups: list[FailedGroup]
    provider_calls: int
    cost: float
    seconds: float


class Tally(_Body, frozen=True, kw_only=True):
    """How many runs of a replay stand where; `requested` are under way, `cancelled` were left out."""

    waiting: int = 0
    requested: int = 0
    completed: int = 0
    failed: int = 0
    skipped: int = 0
    cancelled: int = 0

    @property
    def begun(self) -> int:
        """Runs that were replayed, over or not."""
        return self.requested + self.completed + self.failed

    @property
    def open(self) -> int:
        """Runs that will be replayed, or are under way."""
        return self.waiting + self.requested


class Replay(_Body, frozen=True, kw_only=True):
    """A replay of many runs as it stands; over once `ended_at` is set. `why` says why it was stopped or cancelled."""

    id: UUID
    state: JobState
    why: str | None
    requested_by: str
    reason: str
    total: int
    tally: Tally
    batch: int
    created_at: datetime
    ended_at: datetime | None


class Replays(_Body, frozen=True, kw_only=True):
    """200 of `GET /api/ops/replays`, the latest first."""

    replays: list[Replay]


class ReplayedRun(_Body, frozen=True, kw_only=True):
    """What became of one run of a replay; `code` says why it failed again or was skipped."""

    position: int
    batch: int
    upload_id: UUID
    workflow_run_id: UUID
    attempt: int
    state: ItemState
    code: str | None


class ReplayPage(_Body, frozen=True, kw_only=True):
    """200 of `GET /api/ops/replays/{id}`. `next` is the `after` of the page after this, null at the end."""

    replay: Replay
    runs: list[ReplayedRun]
    next: int | None


class CancelReplay(_Action, frozen=True, kw_only=True):
    """Body of `POST /api/ops/replays/{id}/cancel`."""


class DeadQueue(_Body, frozen=True, kw_only=True):
    """What lies in one queue's dead letters. `reasons` and `oldest` are those of the first 200."""

    queue: str
    messages: int
    oldest: datetime | None
    reasons: dict[str, int]


class DeadQueues(_Body, frozen=True, kw_only=True):
    """200 of `GET /api/ops/dead-letters`."""

    queues: list[DeadQueue]


class Redrive(_Action, frozen=True, kw_only=True):
    """Body of `POST /api/ops/dead-letters/{queue}/redrive`."""

    limit: Annotated[int, msgspec.Meta(ge=1)] | None = None


class Redriven(_Body, frozen=True, kw_only=True):
    """200 of `POST /api/ops/dead-letters/{queue}/redrive`."""

    queue: str
    messages: int
