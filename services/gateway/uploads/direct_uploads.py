"""Photos past the gateway: announced, sent straight to the object store, then looked at and registered."""

import asyncio
import datetime as dt
from uuid import UUID

import structlog
import uuid_utils.compat
from psycopg import OperationalError
from psycopg_pool import PoolTimeout

from contracts.events import Status
from services.gateway.http.deadlines import with_deadline
from services.gateway.http.problems import BeingCompletedError, UploadIncompleteError
from services.gateway.http.sessions import check_token
from services.gateway.uploads.registration import STORE_WAIT, registered
from shared.cpu_pool import CpuPool
from shared.eventstore.group_commit import ConflictError
from shared.eventstore.pending_uploads import PendingUpload, PendingUploads
from shared.eventstore.personal_data import NotAnnouncedError
from shared.eventstore.store import EventStore
from shared.imaging import ImageHeader, ImageRefused, Refusal, read_header
from shared.read_model.queries import UploadQueries
from shared.storage.keys import checked_key, incoming_key
from shared.storage.port import ObjectInfo, ObjectMissingError, ObjectStore, ObjectStoreError, SignedPut
from shared.upload.errors import UploadNotFoundError

log = structlog.get_logger(__name__)

LIFETIME = dt.timedelta(minutes=30)
"""How long an announced upload may take."""
READ_BACK = 4
"""Objects that are copied and read back at a time: each is in memory whole."""
COMPLETION = 60.0
"""Seconds that a completion may take in all, its wait for a place among those included."""
LEASE = dt.timedelta(seconds=90)
"""How long nobody else may complete an upload whose completion died with its gateway; longer than any takes."""
_NOT_SENT = "Nothing was sent yet."


class DirectUploads:
    """The way from an announcement to a registered upload, which is never what the client can still write."""

    def __init__(
        self, store: EventStore, reads: UploadQueries, pending: PendingUploads, objects: ObjectStore, cpu: CpuPool
    ) -> None:
        self._store = store
        self._reads = reads
        self._pending = pending
        self._objects = objects
        self._cpu = cpu
        self._read_back = asyncio.Semaphore(READ_BACK)

    async def announce(self, announced: PendingUpload) -> SignedPut:
        """Remember what will be sent, and allow that to be sent."""
        allowed = await self._objects.signed_put(
            incoming_key(announced.id),
            content_type=announced.content_type,
            size_bytes=announced.size_bytes,
            expires=LIFETIME,
        )
        await with_deadline(lambda: self._pending.add(announced))
        return allowed

    async def complete(self, upload_id: UUID, token: str) -> Status:
        """Register what was sent, once, and return the upload's status.

        Raises UploadNotFoundError, InvalidSessionTokenError, UploadIncompleteError, BeingCompletedError, ImageRefused.
        """
        if (status := await self._registered(upload_id, token)) is not None:
            return status
        announced = await with_deadline(lambda: self._pending.get(upload_id))
        if announced is None:
            # Somebody else may have completed it between the two looks: then its announcement went with that.
            if (status := await self._registered(upload_id, token)) is not None:
                return status
            raise UploadNotFoundError(upload_id)
        check_token(token, announced.session_token_digest)
        if announced.refusal_code is not None:
            raise ImageRefused(Refusal(announced.refusal_code), announced.refusal_message or "")
        claim = await with_deadline(lambda: self._pending.claim(upload_id, LEASE))
        if claim is None:
            # Its announcement went with its registration, or somebody else is at it.
            if (status := await self._registered(upload_id, token)) is not None:
                return status
            raise BeingCompletedError
        try:
            # Again: whoever had the claim before may have registered it since.
            if (status := await self._registered(upload_id, token)) is not None:
                return status
            await self._finish(announced)
        finally:
            await self._release(upload_id, claim)
        return Status.PENDING

    async def _registered(self, upload_id: UUID, token: str) -> Status | None:
        """Return the status of a registered upload to its owner, None where it is not registered."""
        row = await with_deadline(lambda: self._reads.get(upload_id))
        if row is None:
            return None
        if row.erased:
            raise UploadNotFoundError(upload_id)
        check_token(token, row.session_token_digest)
        return Status(row.status)

    async def _release(self, upload_id: UUID, claim: dt.datetime) -> None:
        """Let others complete the upload; where the database is away, the claim lapses by itself."""
        try:
            await with_deadline(lambda: self._pending.release(upload_id, claim))
        except (OperationalError, PoolTimeout, TimeoutError) as error:
            log.warning("claim_left", error=type(error).__name__)

    async def _finish(self, announced: PendingUpload) -> None:
        """Register what was sent, or refuse it for good; either way what the client sent is not needed any more."""
        try:
            async with asyncio.timeout(COMPLETION), self._read_back:
                await self._register(announced)
        except ImageRefused as refused:
            code, message = str(refused.code), refused.message
            await with_deadline(lambda: self._pending.refuse(announced.id, code, message))
            await self._drop(incoming_key(announced.id))
            raise
        # Until the URL expires, the client may write there again: the janitor looks once more after that.
        await self._drop(incoming_key(announced.id))

    async def _register(self, announced: PendingUpload) -> None:
        key = checked_key(announced.id, uuid_utils.compat.uuid7())
        try:
            header = await self._look(announced, key)
        except BaseException:
            await self._drop(key)
            raise
        event = registered(
            announced.id,
            key,
            header,
            email=announced.email,
            token_digest=announced.session_token_digest,
            size_bytes=announced.size_bytes,
        )
        try:
            await self._store.append(event, announced=True, wait=STORE_WAIT)
        except NotAnnouncedError:
            # Erased, or too late, while we looked. What a crash here leaves, the janitor finds.
            await self._drop(key)
            raise UploadNotFoundError(announced.id) from None
        except ConflictError:
            # Somebody else completed it meanwhile, with a copy of their own. After any other error this copy stays: it
            # may be the one that the next try finds registered.
            await self._drop(key)

    async def _look(self, announced: PendingUpload, key: str) -> ImageHeader:
        """Copy what was sent to `key`, where the client cannot write, and look at the copy."""
        sent_key = incoming_key(announced.id)
        # Before the copy, so that what cannot be right costs none; and after it, for it may have been written anew.
        _check_sent(announced, await self._objects.head(sent_key))
        try:
            await self._objects.copy(sent_key, key)
        except ObjectMissingError:
            raise UploadIncompleteError(_NOT_SENT) from None
        _check_sent(announced, await self._objects.head(key))
        try:
            data = await self._objects.get(key)
        except ObjectMissingError:
            # The upload was erased while we looked: its copy went with it.
            raise UploadNotFoundError(announced.id) from None
        header: ImageHeader = await self._cpu.run(read_header, data)
        if header.content_type != announced.content_type:
            message = f"The file is {header.content_type}, and {announced.content_type} was announced."
            raise ImageRefused(Refusal.UNSUPPORTED_IMAGE, message)
        return header

    async def _drop(self, key: str) -> None:
        """Remove an object that nobody needs. Not worth failing for."""
        try:
            await self._objects.delete(key)
        except ObjectStoreError as error:
            log.warning("object_not_deleted", key=key, error=type(error).__name__)


def _check_sent(announced: PendingUpload, sent: ObjectInfo | None) -> None:
    """Raise UploadIncompleteError unless what was sent is of the announced size and type."""
    if sent is None:
        raise UploadIncompleteError(_NOT_SENT)
    if (sent.size_bytes, sent.content_type) != (announced.size_bytes, announced.content_type):
        raise UploadIncompleteError("What was sent is not of the announced size and type.")
