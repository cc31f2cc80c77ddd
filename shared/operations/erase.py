"""Forgetting a person's upload, registered or only announced: its right to be, then its objects.

The event (or the announcement's end) comes first: with it no run can begin, and nothing that a stage or a registration
still finishes counts. In the same transaction a row of `object_cleanups` notes what is left to do, so that the janitor
goes on from anything that went wrong in between.
"""

from uuid import UUID

import msgspec

from shared.clock import utc_now
from shared.eventstore.group_commit import ConflictError
from shared.operations.context import OperatorContext
from shared.operations.object_cleanup import ObjectCleaner
from shared.storage.port import ObjectStore
from shared.upload.decisions import erase
from shared.upload.errors import UploadNotFoundError

WAIT = 5.0
"""Seconds that an erasure waits for the database."""


class Erased(msgspec.Struct, frozen=True, kw_only=True):
    """What was erased. With `looked_at_again` somebody may have been writing still, and the janitor looks once more."""

    upload_id: UUID
    pictures: int
    looked_at_again: bool


async def erase_upload(
    context: OperatorContext, objects: ObjectStore, upload_id: UUID, *, by: str, reason: str
) -> Erased:
    """Erase an upload's pictures and what names its person. Doing it again removes what has come since.

    Raises UploadNotFoundError, RunUnderWayError, StoreUnavailableError with nothing done, or ObjectStoreError with the
    erasure recorded and pictures left, for the janitor.
    """
    noted = await _recorded(context, upload_id, by=by, reason=reason)
    pictures, last = await ObjectCleaner(context.cleanups, context.stream_reader, objects).clean_one(upload_id)
    await context.audit_log.complete(noted, {"pictures": pictures})
    return Erased(upload_id=upload_id, pictures=pictures, looked_at_again=not last)


async def _recorded(context: OperatorContext, upload_id: UUID, *, by: str, reason: str) -> int:
    """Record the erasure, and who asked for it and why; return the id of that note."""
    while True:
        try:
            return await _erase_registered(context, upload_id, by=by, reason=reason)
        except ConflictError:
            continue
        except UploadNotFoundError:
            noted = await context.announced.withdraw(upload_id, who=by, why=reason)
            if noted is not None:
                return noted
            # Registered meanwhile? Or withdrawn before, by an erasure that did not get to its end?
            if await _registered(context, upload_id):
                continue
            if not await context.cleanups.knows(upload_id):
                raise
            return await _noted(context, upload_id, by=by, reason=reason)


async def _erase_registered(context: OperatorContext, upload_id: UUID, *, by: str, reason: str) -> int:
    upload = await context.store.load(upload_id, wait=WAIT)
    event = erase(upload, requested_by=by, reason=reason, now=utc_now())
    if event is None:
        return await _noted(context, upload_id, by=by, reason=reason)
    audit = await context.audit_log.draft(who=by, what="erase", why=reason, details={"uploadId": str(upload_id)})
    await context.store.append(event, audit=audit, wait=WAIT)
    return audit.id


async def _noted(context: OperatorContext, upload_id: UUID, *, by: str, reason: str) -> int:
    """Record that an erased upload is erased again, which removes what has come since."""
    return await context.audit_log.record(who=by, what="erase", why=reason, details={"uploadId": str(upload_id)})


async def _registered(context: OperatorContext, upload_id: UUID) -> bool:
    return bool(await context.store.history(upload_id, wait=WAIT))
