"""Every error as `application/problem+json`: the one place that turns an exception into a status and a code."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

import msgspec
import structlog
from litestar import Request, Response
from litestar.exceptions import HTTPException
from psycopg import OperationalError
from psycopg_pool import PoolTimeout

from contracts.events import Status
from contracts.http import Problem
from shared.eventstore.group_commit import StoreUnavailableError
from shared.imaging import CpuBusyError, ImageRefused
from shared.storage.port import ObjectStoreError
from shared.upload.errors import AlreadyProcessingError, NotReplayableError, UploadNotFoundError

log = structlog.get_logger(__name__)

MEDIA_TYPE = "application/problem+json"
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


class WorkflowTriggerError(Exception):
    """The run could not be recorded. Nothing was written; the same call may succeed later."""


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
    401: ("UNAUTHORIZED", "Not authorised"),
    404: ("NOT_FOUND", "Not found"),
    405: ("METHOD_NOT_ALLOWED", "Method not allowed"),
    413: ("IMAGE_TOO_LARGE", "The request is too large"),
    415: ("UNSUPPORTED_MEDIA_TYPE", "Unsupported media type"),
    429: ("RATE_LIMITED", "Too many requests"),
}
_IMAGE_STATUS = {"IMAGE_TOO_LARGE": 413, "UNSUPPORTED_IMAGE": 415}


def problem_response(request: Request[Any, Any, Any], error: Exception) -> Response[Problem]:
    """Answer with the problem that an exception is. One that nobody foresaw is logged, and says nothing of itself."""
    answer = _answer(error)
    if answer.status == 500 and answer.code != "WORKFLOW_TRIGGER_FAILED":
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
    match error:
        case UploadNotFoundError():
            return _Answer(404, "UPLOAD_NOT_FOUND", "No such upload", "There is no upload with this id.")
        case ResultNotFoundError():
            return _Answer(404, "RESULT_NOT_FOUND", "No such result", "There is no result with this id.")
        case ObjectNotFoundError():
            return _Answer(404, "NOT_FOUND", "Not found", "There is nothing here, or the link has expired.")
        case InvalidSessionTokenError():
            return _Answer(
                401, "INVALID_SESSION_TOKEN", "Not your upload", "The session token is missing or not this upload's."
            )
        case AlreadyProcessingError():
            return _already(error)
        case NotReplayableError():
            return _Answer(
                409, "NOT_RETRYABLE", "Cannot be retried", "Only a failure that may pass can be tried again.",
                current_status=error.current_status,
            )  # fmt: skip
        case ImageRefused():
            status = _IMAGE_STATUS.get(error.code, 400)
            return _Answer(status, str(error.code), "The picture was refused", error.message)
        case InvalidRequestError():
            return _Answer(400, "INVALID_REQUEST", "The request is not valid", str(error))
        case HTTPException():
            return _of_framework(error)
        case _:
            return _ours(error)


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
    if error.status_code >= 500:
        return _ours(error)
    code, title = _BY_STATUS.get(error.status_code, ("INVALID_REQUEST", "The request is not valid"))
    return _Answer(error.status_code, code, title, error.detail or title, headers=error.headers or {})


def _ours(error: Exception) -> _Answer:
    """Errors on our side: said to be temporary where they are."""
    again = {"Retry-After": RETRY_AFTER}
    match error:
        case WorkflowTriggerError():
            return _Answer(
                500, "WORKFLOW_TRIGGER_FAILED", "Could not be started", "Nothing was started. Please try again.",
                headers=again,
            )  # fmt: skip
        case OperationalError() | PoolTimeout() | StoreUnavailableError() | ObjectStoreError() | CpuBusyError():
            log.warning("request_refused", error=type(error).__name__)
            return _Answer(503, "UNAVAILABLE", "Not available", "Please try again in a moment.", headers=again)
        case _:
            return _Answer(500, "INTERNAL_ERROR", "Something went wrong", "Something went wrong on our side.")
