"""How often a client may upload and start runs: checks that refuse a call before its body is read."""

import structlog
from psycopg import OperationalError
from psycopg_pool import PoolTimeout

from services.gateway.http.checks import AnyRequest
from services.gateway.http.client_address import Clients
from services.gateway.http.deadlines import READ_DEADLINE, with_deadline
from services.gateway.http.problems import RateLimitedError, WorkflowTriggerError
from shared.database.rate_limits import RateLimits
from shared.settings import Gateway

log = structlog.get_logger(__name__)

START_CHECK_WAIT = 0.5
"""Seconds that the check of a start waits for the database: its answer is due within two seconds in all."""


class CallLimits:
    """One gateway's limits. Without the database no call is let through: nothing could be done with it anyway."""

    def __init__(self, counts: RateLimits, settings: Gateway, clients: Clients) -> None:
        self._counts = counts
        self._clients = clients
        self._a_minute = {
            "uploads": settings.rate_limit_uploads or 0,
            "complete": settings.rate_limit_complete or 0,
            "process": settings.rate_limit_process or 0,
        }

    async def check(self, what: str, request: AnyRequest, *, wait: float = READ_DEADLINE) -> None:
        """Count a call. Raises RateLimitedError, or what `with_deadline` raises while the database is away."""
        a_minute = self._a_minute[what]
        if not a_minute:
            return
        client = self._clients.of(request)
        seconds = await with_deadline(lambda: self._counts.take(f"{what} {client}", a_minute), wait)
        if seconds:
            log.info("rate_limited", what=what)
            raise RateLimitedError(seconds)


async def upload_rate(request: AnyRequest) -> None:
    """Refuse an upload that comes too soon."""
    await _limits(request).check("uploads", request)


async def complete_rate(request: AnyRequest) -> None:
    """Refuse the completion of an upload that comes too soon."""
    await _limits(request).check("complete", request)


async def process_rate(request: AnyRequest) -> None:
    """Refuse a start that comes too soon."""
    try:
        await _limits(request).check("process", request, wait=START_CHECK_WAIT)
    except (OperationalError, PoolTimeout, TimeoutError) as error:
        raise WorkflowTriggerError from error


def _limits(request: AnyRequest) -> CallLimits:
    limits: CallLimits = request.app.state.limits
    return limits
