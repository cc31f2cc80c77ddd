"""Erasing uploads whose time is over, as an operator's erasure does it: UploadErased, then their objects."""

import asyncio
import datetime as dt
from collections.abc import Sequence
from uuid import UUID

import msgspec
import structlog
from psycopg import Error as DatabaseError
from psycopg_pool import PoolTimeout

from contracts.events import Status
from shared.clock import utc_now
from shared.eventstore.group_commit import ConflictError, StoreUnavailableError
from shared.eventstore.store import EventStore
from shared.operations.kept_uploads import KeptUploads
from shared.upload.decisions import erase
from shared.upload.errors import UploadNotFoundError
from shared.upload.upload import Upload

log = structlog.get_logger(__name__)

BATCH = 50
"""Uploads that are erased side by side, which one commit or a few carry."""
WAIT = 5.0
"""Seconds that each has for the database."""


class RetentionRule(msgspec.Struct, frozen=True, kw_only=True):
    """Uploads are erased once they are older than `age`; with `unstarted`, only those that were never started."""

    age: dt.timedelta
    unstarted: bool

    @property
    def reason(self) -> str:
        """What the event says."""
        days = f"{self.age / dt.timedelta(days=1):g} days"
        return f"not started within {days}" if self.unstarted else f"kept for {days}"

    def spares(self, upload: Upload) -> bool:
        """Return whether an upload is to be left alone: a run under way always is."""
        return upload.status is Status.PROCESSING or (self.unstarted and upload.status is not Status.PENDING)


def rules_of(unstarted_days: float, days: float) -> list[RetentionRule]:
    """Return the rules of two settings in days, where 0 is for ever."""
    given = ((unstarted_days, True), (days, False))
    return [RetentionRule(age=dt.timedelta(days=n), unstarted=unstarted) for n, unstarted in given if n > 0]


class Retention:
    """Works by the rules. Any number may: an upload is claimed by one at a time, and the event store has the last word.

    A start and an erasure at the same moment want the same version of the stream: one is recorded, the other refused.
    """

    def __init__(self, kept: KeptUploads, store: EventStore, rules: Sequence[RetentionRule]) -> None:
        self._kept = kept
        self._store = store
        self._rules = rules

    async def round(self) -> None:
        """Erase all whose time is over. Raises psycopg.Error, PoolTimeout or StoreUnavailableError, where left off."""
        for rule in self._rules:
            while claimed := await self._kept.claim(rule.age, BATCH, unstarted=rule.unstarted):
                ends = await asyncio.gather(*(self._end(each, rule) for each in claimed), return_exceptions=True)
                for upload_id, end in zip(claimed, ends, strict=True):
                    _note(upload_id, end)
                log.info("retention", erased=ends.count(True), reason=rule.reason)

    async def _end(self, upload_id: UUID, rule: RetentionRule) -> bool:
        """Erase one upload unless the rule spares it; return whether it is erased."""
        while True:
            try:
                upload = await self._store.load(upload_id, wait=WAIT)
            except UploadNotFoundError:
                await self._kept.remove(upload_id)
                return False
            if upload.status is not Status.PENDING:
                await self._kept.note_started(upload_id)
            if rule.spares(upload):
                return False
            event = erase(upload, requested_by="retention", reason=rule.reason, now=utc_now())
            try:
                if event is None:
                    await self._kept.remove(upload_id)
                else:
                    await self._store.append(event, wait=WAIT)
            except ConflictError:
                continue
            return True


def _note(upload_id: UUID, end: object) -> None:
    """Raise what concerns all uploads; log what is wrong with one, which is looked at again when its claim is over."""
    if isinstance(end, DatabaseError | PoolTimeout | StoreUnavailableError):
        raise end
    if isinstance(end, Exception):
        log.error("retention_failed", upload_id=str(upload_id), error=type(end).__name__)
    elif isinstance(end, BaseException):
        raise end
