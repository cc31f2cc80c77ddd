"""What went wrong at Google, as a failure of the stage: a stable code, and a sentence that its uploader may read.

Neither ever quotes Google: its messages name keys, projects and URLs. A refusal and a 500 or 503 are not billed; where
an answer may be missing for work that was done, `outcome_unknown` says so.
"""

import math
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import msgspec

from shared.upload.errors import FinalFailure, RetryableFailure, StageFailure

# Longer than any run may take. A wait is never made shorter than Google asks, but it must remain a date.
LONGEST_WAIT = 30 * 86_400.0

_NOT_SET_UP = "The picture service is not set up correctly on our side."
# A gateway's words: whoever does the work behind it may go on, and bill.
_GATEWAY_GAVE_UP = frozenset({502, 504})
_WORTH_ANOTHER_TRY = frozenset({408, 409, 425, 499})


class _Detail(msgspec.Struct):
    reason: str = ""
    retry_delay: str = msgspec.field(name="retryDelay", default="")


class _Error(msgspec.Struct):
    status: str = ""
    details: list[_Detail] = []


class _Body(msgspec.Struct):
    error: _Error = msgspec.field(default_factory=_Error)


def from_status(status: int, headers: Mapping[str, str], body: object) -> StageFailure:
    """Return what an answer other than 200 means. `body` is its JSON, whatever that is."""
    error = _read(body)
    if status == 429:  # noqa: PLR2004 — the codes of HTTP are known by their numbers
        return RetryableFailure(
            "PROVIDER_RATE_LIMITED", "The picture service is too busy right now.", _wait(headers, error)
        )
    if status >= 500 or status in _WORTH_ANOTHER_TRY:  # noqa: PLR2004 — as above
        return RetryableFailure(
            "PROVIDER_UNAVAILABLE",
            "The picture service is not available right now.",
            _wait(headers, error),
            outcome_unknown=status in _GATEWAY_GAVE_UP,
        )
    return _refusal(status, error)


def unreachable() -> RetryableFailure:
    """Say that no connection was made: nothing was sent."""
    return RetryableFailure("PROVIDER_UNREACHABLE", "The picture service could not be reached.")


def connection_lost() -> RetryableFailure:
    """Say that the connection broke after something was sent: the answer is missing, but the work may be done."""
    return RetryableFailure(
        "PROVIDER_UNREACHABLE", "The connection to the picture service was lost.", outcome_unknown=True
    )


def timed_out() -> RetryableFailure:
    """Say that no answer came in time."""
    return RetryableFailure("PROVIDER_TIMED_OUT", "The picture service took too long to answer.", outcome_unknown=True)


def no_image() -> RetryableFailure:
    """Say that the answer has no picture. It is billed, but models do this now and then: another try may help."""
    return RetryableFailure("PROVIDER_NO_IMAGE", "The picture service answered without a picture.")


def broken_image() -> RetryableFailure:
    """Say that the picture cannot be read. It is billed all the same."""
    return RetryableFailure("PROVIDER_BROKEN_IMAGE", "The picture service answered with a damaged picture.")


def content_blocked() -> FinalFailure:
    """Say that Google will not draw this. The same photo meets the same rule again."""
    return FinalFailure(
        "CONTENT_BLOCKED", "The picture service declined this photo by its content rules. Please try another photo."
    )


def _refusal(status: int, error: _Error) -> FinalFailure:
    # A wrong key is a 400 with a reason, not a 401; a country or an account without billing is a FAILED_PRECONDITION.
    key_refused = any(detail.reason.startswith("API_KEY_") for detail in error.details)
    if status in {401, 403} or key_refused or error.status == "FAILED_PRECONDITION":
        return FinalFailure("PROVIDER_AUTH", _NOT_SET_UP, replayable=True)
    if status == 404:  # noqa: PLR2004 — as above
        return FinalFailure("PROVIDER_MODEL_UNKNOWN", _NOT_SET_UP, replayable=True)
    if status < 400:  # noqa: PLR2004 — as above
        # A redirect, or a success that is none: whatever the base URL leads to, it is not Gemini.
        return FinalFailure("PROVIDER_REFUSED", _NOT_SET_UP, replayable=True)
    return FinalFailure(
        "PROVIDER_REFUSED", "The picture service could not work with this photo. Please try another photo."
    )


def _read(body: object) -> _Error:
    try:
        return msgspec.convert(body, _Body).error
    except msgspec.ValidationError:
        return _Error()


def _wait(headers: Mapping[str, str], error: _Error) -> float:
    """Return the longest wait in seconds that the header or the body asks for, 0 where neither does."""
    asked = [_seconds(detail.retry_delay.removesuffix("s")) for detail in error.details]
    asked.append(_header_wait(headers.get("retry-after", ""), headers.get("date", "")))
    return min(max(asked), LONGEST_WAIT)


def _header_wait(retry_after: str, date: str) -> float:
    until = _instant(retry_after)
    if until is None:
        return _seconds(retry_after)
    # Against the clock that wrote the date, where it is known: ours may run ahead and would shorten the wait.
    return max(0.0, (until - (_instant(date) or datetime.now(UTC))).total_seconds())


def _instant(text: str) -> datetime | None:
    try:
        instant = parsedate_to_datetime(text)
    except ValueError:
        return None
    return instant if instant.tzinfo else instant.replace(tzinfo=UTC)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        return 0.0
    return seconds if math.isfinite(seconds) and seconds > 0 else 0.0
