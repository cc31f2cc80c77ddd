"""Every error as `application/problem+json`: the one place that turns an exception into a status and a code."""

import math
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any
from uuid import UUID

import msgspec
import structlog
from litestar import Request, Response
from litestar.exceptions import HTTPException, InternalServerException, SerializationException, ValidationException
from psycopg import DataError, OperationalError
from psycopg_pool import PoolTimeout

from contracts.events import Status
from contracts.http import Problem
from shared.eventstore.group_commit import StoreUnavailableError
from shared.eventstore.personal_data import NotAnnouncedError
from shared.imaging import CpuBusyError, ImageRefused
from shared.storage.port import ObjectStoreError
from shared.upload.errors import AlreadyProcessingError, NotReplayableError, RetriesExhaustedError, UploadNotFoundError

log = structlog.get_logger(__name__)

MEDIA_TYPE = "application/problem+json"
UNFORESEEN = "INTERNAL_ERROR"
RETRY_AFTER = "2"
"""Seconds after which a client may ask again when we were at fault."""


class InvalidSessionTokenError(Exception):
    """No session token, or not this upload's."""


class ResultNotFoundError(Exception):
    """No such result."""


class ObjectNotFoundError(Exception):
    """No such object, or the URL does not open it; which of the two is not told."""


class InvalidRequestError(Exception):
    """The request cannot be understood; the message says what is wrong with it, for a person."""


class UploadIncompleteError(Exception):
    """The object of an announced upload is not there, or not what was announced; the message says which."""


class BeingCompletedError(Exception):
    """Another call is completing this upload at the moment."""


class SignatureMismatchError(Exception):
    """The URL does not allow this write, or not any more."""


class ClientGoneError(Exception):
    """The client left before its request was complete. Nobody reads the answer; its status is what is counted."""


class LengthRequiredError(Exception):
    """A body came without saying how long it is."""


class UnsupportedMediaTypeError(Exception):
    """The body is of a kind that the route does not read; the message names the kind that it does."""


class RateLimitedError(Exception):
    """This client calls too often. `seconds` is how long it should wait."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"wait for {seconds:.3f} s")
        self.seconds = seconds


class SpoolFullError(Exception):
    """The uploads that are coming in hold all the disk that they may."""


class WorkflowTriggerError(Exception):
    """The run could not be recorded. Nothing was written, or all of it where only the database's answer was lost.

    The same call says which: it starts the run, or is told that this was done.
    """


class _Answer(msgspec.Struct, frozen=True):
    """What an exception becomes."""

    status: int
    code: str
    title: str
    detail: str
    current_status: Status | msgspec.UnsetType = msgspec.UNSET
    workflow_run_id: UUID | msgspec.UnsetType = msgspec.UNSET
    headers: Mapping[str, str] = {}


_BY_STATUS = {
    400: ("INVALID_REQUEST", "The request is not valid"),
    404: ("NOT_FOUND", "Not found"),
    405: ("METHOD_NOT_ALLOWED", "Method not allowed"),
    408: ("REQUEST_TIMEOUT", "The request took too long"),
    413: ("REQUEST_TOO_LARGE", "The request is too large"),
}
_IMAGE_STATUS = {"IMAGE_TOO_LARGE": 413, "UNSUPPORTED_IMAGE": 415}
_AWAY = (
    OperationalError,
    PoolTimeout,
    TimeoutError,
    StoreUnavailableError,
    NotAnnouncedError,
    ObjectStoreError,
    CpuBusyError,
    SpoolFullError,
)

# What says all of itself by its type.
_PLAIN: dict[type[Exception], _Answer] = {
    UploadNotFoundError: _Answer(404, "UPLOAD_NOT_FOUND", "No such upload", "There is no upload with this id."),
    ResultNotFoundError: _Answer(404, "RESULT_NOT_FOUND", "No such result", "There is no result with this id."),
    ObjectNotFoundError: _Answer(404, "NOT_FOUND", "Not found", "There is nothing here, or the link has expired."),
    InvalidSessionTokenError: _Answer(
        401, "INVALID_SESSION_TOKEN", "Not your upload", "The session token is missing or not this upload's."
    ),
    BeingCompletedError: _Answer(
        409,
        "BEING_COMPLETED",
        "Being completed",
        "Another call is completing this upload. Please ask again in a moment.",
        headers={"Retry-After": RETRY_AFTER},
    ),
    SignatureMismatchError: _Answer(
        403, "SIGNATURE_MISMATCH", "Not allowed", "The URL does not allow this upload, or it has expired."
    ),
    ClientGoneError: _Answer(499, "CLIENT_GONE", "The client has gone", "The request did not come in to its end."),
    LengthRequiredError: _Answer(411, "LENGTH_REQUIRED", "Length required", "The request needs a Content-Length."),
}
# What says the rest in a sentence of ours.
_TOLD: dict[type[Exception], tuple[int, str, str]] = {
    InvalidRequestError: (400, "INVALID_REQUEST", "The request is not valid"),
    UploadIncompleteError: (409, "UPLOAD_INCOMPLETE", "The upload is not complete"),
    UnsupportedMediaTypeError: (415, "UNSUPPORTED_MEDIA_TYPE", "Unsupported media type"),
}


def problem_response(request: Request[Any, Any, Any], error: Exception) -> Response[Problem]:
    """Answer with the problem that an exception is. One that nobody foresaw is logged, and says nothing of itself."""
    if isinstance(error, InternalServerException) and request.scope["state"].get("client_gone"):
        # What Litestar raises for a body that broke off. A client may leave when it likes: that is no fault.
        error = ClientGoneError()
        log.debug("client_gone", method=request.method, path=request.url.path)
    answer = _answer(error)
    if answer.code == UNFORESEEN:
        log.error("request_failed", method=request.method, path=request.url.path, exc_info=error)
    problem = Problem(
        title=answer.title,
        status=answer.status,
        code=answer.code,
        request_id=str(request.scope.get("state", {}).get("request_id", "")),
        detail=answer.detail,
        current_status=answer.current_status,
        workflow_run_id=answer.workflow_run_id,
    )
    return Response(problem, status_code=answer.status, media_type=MEDIA_TYPE, headers=dict(answer.headers))


def _answer(error: Exception) -> _Answer:
    if (plain := _PLAIN.get(type(error))) is not None:
        return plain
    if (told := _TOLD.get(type(error))) is not None:
        return _Answer(*told, str(error))
    if isinstance(error, HTTPException):
        return _of_framework(error)
    if isinstance(error, DataError):
        # A query's or a path's text that the database cannot take, such as a NUL character.
        return _Answer(400, *_BY_STATUS[400], "The request has a value that cannot be used.")
    return _refused(error) or _ours(error)


def _refused(error: Exception) -> _Answer | None:
    """Return what the domain and its neighbours refused; None where it is no refusal."""
    match error:
        case AlreadyProcessingError():
            return _already(error)
        case NotReplayableError():
            return _not_retryable(error)
        case ImageRefused():
            status = _IMAGE_STATUS.get(error.code, 400)
            return _Answer(status, str(error.code), "The picture was refused", error.message)
        case RateLimitedError():
            again = {"Retry-After": str(math.ceil(error.seconds))}
            return _Answer(429, "RATE_LIMITED", "Too many requests", "Please try again later.", headers=again)
        case _:
            return None


def _not_retryable(error: NotReplayableError) -> _Answer:
    exhausted = isinstance(error, RetriesExhaustedError)
    detail = error.why if exhausted else "Only a failure that may pass can be tried again."
    return _Answer(409, "NOT_RETRYABLE", "Cannot be retried", detail, current_status=error.current_status)


def _already(error: AlreadyProcessingError) -> _Answer:
    return _Answer(
        409,
        "ALREADY_PROCESSING",
        "Already asked for",
        f"This upload is {error.current_status}.",
        current_status=error.current_status,
        workflow_run_id=error.workflow_run_id or msgspec.UNSET,
    )


def _of_framework(error: HTTPException) -> _Answer:
    """Say in our words what Litestar refused: its own name routes, classes and handlers."""
    if error.status_code >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return _ours(error)
    code, title = _BY_STATUS.get(error.status_code, ("INVALID_REQUEST", "The request is not valid"))
    detail = _reasons(error) if error.status_code == HTTPStatus.BAD_REQUEST else f"{title}."
    return _Answer(error.status_code, code, title, detail, headers=error.headers or {})


def _reasons(error: HTTPException) -> str:
    """List what is wrong with which member or parameter."""
    if not isinstance(error, ValidationException):
        return error.detail if isinstance(error.__cause__, SerializationException) else "The request cannot be read."
    found = error.extra if isinstance(error.extra, list) else []
    reasons = [f"{reason.get('key', 'body')}: {reason.get('message', 'not valid')}" for reason in found]
    return "; ".join(reasons) or error.detail


def _ours(error: Exception) -> _Answer:
    """Errors on our side: said to be temporary where they are."""
    again = {"Retry-After": RETRY_AFTER}
    if isinstance(error, WorkflowTriggerError):
        detail = "The processing could not be started. Please try again."
        return _Answer(500, "WORKFLOW_TRIGGER_FAILED", "Could not be started", detail, headers=again)
    if isinstance(error, _AWAY):
        log.warning("request_refused", error=type(error).__name__)
        return _Answer(503, "UNAVAILABLE", "Not available", "Please try again in a moment.", headers=again)
    return _Answer(500, UNFORESEEN, "Something went wrong", "Something went wrong on our side.")
