"""Forgetting a person's upload: UploadErased, then the pictures.

The event comes first: with it no run can begin, and nothing that a stage still finishes counts. Erasing again is the
way on from anything that went wrong in between.
"""

import datetime as dt
from collections.abc import Iterator, Sequence
from uuid import UUID

import msgspec

from contracts.events import Event, ImageGenerated, PreviewWatermarked, ProcessingFailed, ResultStored
from shared.clock import utc_now
from shared.eventstore.group_commit import ConflictError
from shared.operations.context import OperatorContext
from shared.storage.keys import generated_key, incoming_key, preview_key, result_id, result_key
from shared.storage.port import ObjectStore
from shared.upload.decisions import erase
from shared.upload.upload import Upload

WAIT = 5.0
"""Seconds that an erasure waits for the database."""
LATE = dt.timedelta(minutes=5)
"""How long after its run was ended a stage may still put a picture away; longer than any stage's time-out."""


class Erased(msgspec.Struct, frozen=True, kw_only=True):
    """What was erased. Where `again_at` is set, a stage may put one more picture away before then."""

    upload_id: UUID
    pictures: int
    again_at: dt.datetime | None


async def erase_upload(
    context: OperatorContext, objects: ObjectStore, upload_id: UUID, *, by: str, reason: str
) -> Erased:
    """Erase an upload's pictures and what names its person.

    Raises UploadNotFoundError, RunUnderWayError, StoreUnavailableError with nothing done, or ObjectStoreError with the
    event recorded and pictures left.
    """
    upload = await _recorded(context, upload_id, by=by, reason=reason)
    history = await context.store.history(upload_id, wait=WAIT)
    details = {"uploadId": str(upload_id)}
    noted = await context.audit_log.record(who=by, what="erase", why=reason, details=details)
    keys = sorted(set(_keys(upload, history)))
    pictures = 0
    for key in keys:
        pictures += await objects.head(key) is not None
        await objects.delete(key)
    await context.audit_log.complete(noted, {"pictures": pictures})
    ended = max((event.occurred_at for event in history if isinstance(event, ProcessingFailed)), default=None)
    again_at = ended + LATE if ended is not None and ended + LATE > utc_now() else None
    return Erased(upload_id=upload_id, pictures=pictures, again_at=again_at)


async def _recorded(context: OperatorContext, upload_id: UUID, *, by: str, reason: str) -> Upload:
    while True:
        upload = await context.store.load(upload_id, wait=WAIT)
        event = erase(upload, requested_by=by, reason=reason, now=utc_now())
        if event is None:
            return upload
        try:
            await context.store.append(event, wait=WAIT)
        except ConflictError:
            continue
        return upload


def _keys(upload: Upload, history: Sequence[Event]) -> Iterator[str]:
    """Name every object that the upload has, or that a stage left behind without saying so."""
    yield upload.original_key
    yield incoming_key(upload.id)
    for event in history:
        match event:
            case ImageGenerated():
                yield event.generated_key
            case ResultStored():
                yield event.result_key
                yield preview_key(upload.id, event.result_id)
            case PreviewWatermarked():
                yield event.preview_key
    if upload.workflow_run_id is None:
        return
    for generation in range(1, upload.generations + 2):
        result = result_id(upload.workflow_run_id, generation)
        yield generated_key(upload.id, upload.workflow_run_id, generation)
        yield result_key(upload.id, result)
        yield preview_key(upload.id, result)
