"""What is told of a stage's work: a count, a duration, a line in the log, and the outcome on its span."""

import structlog

from contracts.events import ProcessingFailed, RunEvent
from shared.observability import traces
from shared.observability.metrics import STAGE_FAILURES, STAGE_OUTCOMES, STAGE_SECONDS
from shared.upload.errors import StageFailure
from shared.upload.saga import StageSpec

log = structlog.get_logger(__name__)


class StageTelemetry:
    """One stage's teller. `seconds` is how long an attempt took until its outcome was recorded."""

    def __init__(self, spec: StageSpec) -> None:
        self._spec = spec
        self._seconds = STAGE_SECONDS.labels(spec.queue)
        self._outcomes = {
            outcome: STAGE_OUTCOMES.labels(spec.queue, outcome) for outcome in ("done", "retried", "failed", "skipped")
        }

    def done(self, attempt: int, seconds: float) -> None:
        """Say that the stage did its work in the run's attempt number `attempt`."""
        self._tell("done", seconds)
        log.info("stage_done", stage=self._spec.stage, attempt=attempt, ms=round(seconds * 1000))

    def failed(self, attempt: int, seconds: float, failure: StageFailure, recorded: RunEvent) -> None:
        """Say that an attempt failed, and what was recorded of it: that another follows, or the run's end."""
        self._tell("failed" if isinstance(recorded, ProcessingFailed) else "retried", seconds)
        STAGE_FAILURES.labels(self._spec.queue, failure.code).inc()
        log.warning(
            "stage_failed",
            stage=self._spec.stage,
            attempt=attempt,
            code=failure.code,
            recorded=type(recorded).__name__,
        )

    def unforeseen(self, attempt: int, error: Exception) -> None:
        """Log an error that nobody foresaw, with its traceback."""
        log.error("stage_error", stage=self._spec.stage, attempt=attempt, exc_info=error)

    def skipped(self, message_id: str, why: object) -> None:
        """Say that there was nothing to do: the stage is done, or somebody else is at it."""
        self._outcomes["skipped"].inc()
        traces.note("darkroom.outcome", "skipped")
        log.info("message_skipped", stage=self._spec.stage, message_id=message_id, why=str(why))

    def _tell(self, outcome: str, seconds: float) -> None:
        self._outcomes[outcome].inc()
        self._seconds.observe(seconds)
        traces.note("darkroom.outcome", outcome)
