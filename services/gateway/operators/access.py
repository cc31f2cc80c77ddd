"""Who is an operator, and what the operators' interface answers where it refuses."""

import hashlib
import hmac
from typing import Any, NoReturn

import structlog
from litestar import Request, Response
from litestar.connection import ASGIConnection
from litestar.handlers import BaseRouteHandler
from litestar.types import Guard
from msgspec.structs import replace

from contracts.http import Problem
from services.gateway.http.client_address import Clients
from services.gateway.http.deadlines import with_deadline
from services.gateway.http.problems import MEDIA_TYPE, RETRY_AFTER, RateLimitedError
from shared.database.rate_limits import RateLimits
from shared.messaging.dead_letter_queues import UnknownQueueError
from shared.messaging.message import TransportDownError
from shared.observability.metrics import OPERATOR_REQUESTS
from shared.operations.bulk_replay import NothingSelectedError, ReplayJobNotFoundError, ReplayJobOverError
from shared.operations.replay import RunNotFoundError
from shared.upload.errors import NotReplayableError

log = structlog.get_logger(__name__)


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


OPERATOR = "operator"
"""Who did it, in the audit log: there is one token, so whoever has it."""
GUESSES = 10
"""Wrong tokens a minute that one client may send before it has to wait, also with the right one."""
GUESSES_IN_ALL = 100
"""Wrong tokens a minute, from whomever, that are logged and answered one by one."""


class OperatorToken:
    """Lets in who sends the operators' token, and nobody where there is none.

    It is compared in constant time. How many wrong ones each client has sent is counted in PostgreSQL, so that all
    gateways keep one limit between them.
    """

    def __init__(self, token: str, counts: RateLimits, clients: Clients) -> None:
        self._set = bool(token)
        self._expected = _digest(token)
        self._counts = counts
        self._clients = clients

    async def check(self, connection: ASGIConnection[Any, Any, Any, Any]) -> None:
        """Raise OperationsDisabledError, NotAnOperatorError, or RateLimitedError after too many wrong tokens."""
        if not self._set:
            raise OperationsDisabledError
        client = self._clients.of(connection)
        if seconds := await with_deadline(lambda: self._counts.wait_of(f"operators {client}", GUESSES)):
            OPERATOR_REQUESTS.labels("throttled").inc()
            raise RateLimitedError(seconds)
        scheme, _space, given = connection.headers.get("Authorization", "").partition(" ")
        if scheme.lower() == "bearer" and hmac.compare_digest(_digest(given.strip()), self._expected):
            OPERATOR_REQUESTS.labels("let_in").inc()
            return
        await self._refuse(client)

    async def _refuse(self, client: str) -> NoReturn:
        OPERATOR_REQUESTS.labels("refused").inc()
        await with_deadline(lambda: self._counts.take(f"operators {client}", GUESSES))
        if seconds := await with_deadline(lambda: self._counts.take("operators", GUESSES_IN_ALL)):
            raise RateLimitedError(seconds)
        log.warning("operator_token_wrong", client=client)
        raise NotAnOperatorError


def operator_only(token: OperatorToken) -> Guard:
    """Return the guard. A function, because Litestar copies a bound method with all that its object holds."""

    async def guard(connection: ASGIConnection[Any, Any, Any, Any], _: BaseRouteHandler) -> None:
        await token.check(connection)

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
