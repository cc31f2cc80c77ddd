"""Redriving and purging dead letters, noted in the operators' log before anything is touched."""

from shared.messaging.dead_letter_queues import DeadLetters
from shared.operations.context import OperatorContext


async def redrive_audited(
    context: OperatorContext, letters: DeadLetters, *, queue: str | None, limit: int | None, by: str, reason: str
) -> dict[str, int]:
    """Put dead letters back and count them by queue. Raises UnknownQueueError, TransportDownError."""
    details = {"queue": queue, "limit": limit}
    noted = await context.audit_log.record(who=by, what="dead-letters.redrive", why=reason, details=details)
    counts = await letters.redrive(queue, limit=limit)
    await context.audit_log.complete(noted, {"redriven": counts})
    return counts


async def purge_audited(
    context: OperatorContext, letters: DeadLetters, *, queue: str | None, by: str, reason: str
) -> dict[str, int]:
    """Throw dead letters away and count them by queue. Raises UnknownQueueError, TransportDownError."""
    noted = await context.audit_log.record(who=by, what="dead-letters.purge", why=reason, details={"queue": queue})
    counts = await letters.purge(queue)
    await context.audit_log.complete(noted, {"purged": counts})
    return counts
