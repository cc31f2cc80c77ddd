"""Refusals of the domain, named for the fact (the gateway maps them to HTTP), and how a stage says it failed."""

import datetime as dt
from uuid import UUID

from contracts.events import Status


class DomainError(Exception):
    """A command that the aggregate refuses. Nothing was recorded."""


class UploadNotFoundError(DomainError):
    """No such upload."""

    def __init__(self, upload_id: UUID) -> None:
        super().__init__(f"upload {upload_id} does not exist")
        self.upload_id = upload_id


class AlreadyProcessingError(DomainError):
    """A run was asked for before: it is under way, or it ended."""

    def __init__(self, upload_id: UUID, current_status: Status, workflow_run_id: UUID | None) -> None:
        super().__init__(f"upload {upload_id} is already {current_status}")
        self.upload_id = upload_id
        self.current_status = current_status
        self.workflow_run_id = workflow_run_id


class NotReplayableError(DomainError):
    """This run cannot be replayed, or not from there; the message says why."""

    def __init__(self, upload_id: UUID, current_status: Status, why: str) -> None:
        super().__init__(f"upload {upload_id} cannot be replayed: {why}")
        self.upload_id = upload_id
        self.current_status = current_status
        self.why = why


class RetriesExhaustedError(NotReplayableError):
    """The owner may not retry this run any more; `why` is fit for a person. An operator may still replay it."""


class RunUnderWayError(DomainError):
    """A run is under way: it has to end before its upload can be erased, or a stage would make its pictures anew."""

    def __init__(self, upload_id: UUID) -> None:
        super().__init__(f"upload {upload_id} is being processed: erase it once its run has ended")
        self.upload_id = upload_id


class FencedError(DomainError):
    """The result comes too late: the stage is done, or a later attempt has taken over. It changes nothing."""


class LeaseHeldError(DomainError):
    """Another worker may be calling the provider for this run right now; calling again could pay twice."""

    def __init__(self, upload_id: UUID, until: dt.datetime) -> None:
        super().__init__(f"upload {upload_id} is being generated until {until.isoformat()}")
        self.until = until


class StageFailure(Exception):  # noqa: N818 — a failure is an outcome here, not a mistake
    """A stage could not do its work. `code` is stable, `message` is fit for a person. Raise one of its subclasses."""

    outcome_unknown = False

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message


class RetryableFailure(StageFailure):
    """It may work later.

    `retry_after` is the soonest, in seconds, where the other side said so. `outcome_unknown` says that the other side
    may have done the work all the same (and may bill it): a call that timed out, a connection lost after sending.
    """

    def __init__(self, code: str, message: str, retry_after: float = 0.0, *, outcome_unknown: bool = False) -> None:
        super().__init__(code, message)
        self.retry_after = retry_after
        self.outcome_unknown = outcome_unknown


class FinalFailure(StageFailure):
    """The same input fails the same way: the run ends here. `replayable` says whether a person may try again later."""

    def __init__(self, code: str, message: str, *, replayable: bool = False) -> None:
        super().__init__(code, message)
        self.replayable = replayable
