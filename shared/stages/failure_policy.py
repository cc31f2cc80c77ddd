"""Every error a stage can end in, in the saga's words: try again, or end the run."""

from shared.cpu_pool import CpuBusyError
from shared.storage.port import ObjectMissingError, ObjectStoreError
from shared.upload.errors import FinalFailure, RetryableFailure, StageFailure

UNFORESEEN = "INTERNAL_ERROR"
"""The code of an error that nobody foresaw."""


def as_failure(error: Exception, *, call_under_way: bool) -> StageFailure:
    """Return the failure to record for what a stage raised.

    `call_under_way` says that the AI provider had been called and not been heard of, so the outcome is unknown. An
    error that nobody foresaw is tried again: a run ends with a reason even where the reason is a bug.
    """
    match error:
        case StageFailure():
            return error
        case TimeoutError():
            return RetryableFailure("STAGE_TIMED_OUT", "This step took too long.", outcome_unknown=call_under_way)
        case CpuBusyError():
            return RetryableFailure(
                "BUSY", "Many pictures are being worked on right now.", outcome_unknown=call_under_way
            )
        case ObjectMissingError():
            return FinalFailure("OBJECT_MISSING", "The picture is no longer there. Please upload it again.")
        case ObjectStoreError():
            return RetryableFailure(
                "STORAGE_UNAVAILABLE", "The picture store did not answer.", outcome_unknown=call_under_way
            )
        case _:
            return RetryableFailure(UNFORESEEN, "Something went wrong on our side.", outcome_unknown=call_under_way)
