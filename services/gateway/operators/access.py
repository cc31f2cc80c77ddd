"""Who is an operator, and what the operators' interface answers where it refuses."""

import hashlib
import hmac
from typing import Any

from litestar import Request, Response
from litestar.connection import ASGIConnection
from litestar.handlers import BaseRouteHandler
from litestar.types import Guard
from msgspec.structs import replace

from contracts.http import Problem
from services.gateway.http.problems import MEDIA_TYPE, RETRY_AFTER
from shared.messaging.dead_letter_queues import UnknownQueueError
from shared.messaging.message import TransportDownError
from shared.operations.bulk_replay import NothingSelectedError, ReplayJobNotFoundError, ReplayJobOverError
from shared.operations.replay import RunNotFoundError
from shared.upload.errors import NotReplayableError


class NotAnOperatorError(Exception):
    """No operator's token, or a wrong one."""


class OperationsDisabledError(Exception):
    """No operator's token is configured, so nobody is let in."""


class NoBrokerError(Exception):
    """There is no broker here, and so there are no dead letters."""


class ReasonMissingError(Exception):
    """A replay without a reason."""


class BadCursorError(Exception):
    """A cursor that no page gave."""


PROBLEMS: dict[type[Exception], tuple[int, str, str, str]] = {
    NotAnOperatorError: (401, "INVALID_OPERATOR_TOKEN", "Not an operator", "The operator's token is missing or wrong."),
    OperationsDisabledError: (403, "OPERATIONS_DISABLED", "Not allowed", "OPERATOR_TOKEN is not set here."),
    RunNotFoundError: (404, "RUN_NOT_FOUND", "No such run", "There is no run or upload with this id."),
    ReplayJobNotFoundError: (404, "REPLAY_NOT_FOUND", "No such replay", "There is no replay with this id."),
    UnknownQueueError: (404, "QUEUE_NOT_FOUND", "No such queue", "No stage has a queue of this name."),
    NotReplayableError: (409, "NOT_REPLAYABLE", "Cannot be replayed", ""),
    NothingSelectedError: (409, "NOTHING_SELECTED", "Nothing to replay", "No failed run matches."),
    ReplayJobOverError: (409, "REPLAY_OVER", "Nothing to cancel", "This replay goes no further already."),
    NoBrokerError: (409, "NO_BROKER", "No broker", "There is no broker here, and so there are no dead letters."),
    ReasonMissingError: (400, "INVALID_REQUEST", "The request is not valid", "`reason` is needed: it is kept."),
    BadCursorError: (400, "INVALID_REQUEST", "The request is not valid", "`cursor` is none that a page gave."),
    TransportDownError: (503, "UNAVAILABLE", "Not available", "The broker does not answer."),
}
"""What the refusals become: status, code, title and detail."""


def operator_only(token: str) -> Guard:
    """Let in who sends the operators' token, and nobody where there is none. Compared in constant time."""
    expected = _digest(token)

    async def guard(connection: ASGIConnection[Any, Any, Any, Any], _: BaseRouteHandler) -> None:
        if not token:
            raise OperationsDisabledError
        scheme, _space, given = connection.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not hmac.compare_digest(_digest(given.strip()), expected):
            raise NotAnOperatorError

    return guard


def ops_problem(request: Request[Any, Any, Any], error: Exception) -> Response[Problem]:
    """Answer with the problem that a refusal is."""
    status, code, title, detail = PROBLEMS[type(error)]
    problem = Problem(
        title=title,
        status=status,
        code=code,
        request_id=str(request.scope.get("state", {}).get("request_id", "")),
        detail=detail,
    )
    if isinstance(error, NotReplayableError):
        problem = replace(problem, detail=f"{error.why}.".capitalize(), current_status=error.current_status)
    headers = {401: {"WWW-Authenticate": "Bearer"}, 503: {"Retry-After": RETRY_AFTER}}.get(status, {})
    return Response(problem, status_code=status, media_type=MEDIA_TYPE, headers=headers)


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode(errors="replace")).digest()
