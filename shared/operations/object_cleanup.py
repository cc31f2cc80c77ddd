"""Removing an upload's objects, found by prefix: all of an erased one's, else what its registration left over."""

from uuid import UUID

import structlog
from psycopg import Error as DatabaseError
from psycopg_pool import PoolTimeout

from shared.eventstore.object_cleanups import ObjectCleanup, ObjectCleanups
from shared.eventstore.stream_reader import StreamReader
from shared.storage.keys import prefixes_of, upload_prefixes_of
from shared.storage.port import ObjectStore, ObjectStoreError

log = structlog.get_logger(__name__)

BATCH = 50
"""Uploads whose objects are removed before the next are claimed: one claim has to last for all of them."""
FAILURES = 3
"""Failures in a row after which the object store counts as away, until the next round."""


class ObjectCleaner:
    """Works off `object_cleanups`. Any number may: a row is claimed by one at a time, and all can be done twice."""

    def __init__(self, cleanups: ObjectCleanups, stream_reader: StreamReader, objects: ObjectStore) -> None:
        self._cleanups = cleanups
        self._histories = stream_reader
        self._objects = objects

    async def round(self) -> None:
        """Work off all that is due. Raises psycopg.Error, PoolTimeout, or ObjectStoreError where the store is away."""
        failures = 0
        while claimed := await self._cleanups.claim(BATCH):
            for cleanup in claimed:
                try:
                    await self.clean(cleanup)
                    failures = 0
                except (DatabaseError, PoolTimeout):
                    raise
                except Exception as error:
                    # One upload that cannot be cleaned must not keep the others' pictures.
                    failures += 1
                    await self._cleanups.put_off(cleanup)
                    log.warning("objects_left", upload_id=str(cleanup.upload_id), error=type(error).__name__)
                    if isinstance(error, ObjectStoreError) and failures >= FAILURES:
                        raise

    async def clean(self, cleanup: ObjectCleanup) -> int:
        """Remove the objects that nothing leads to, and note that they are gone; return how many there were.

        An upload without a stream was withdrawn or has expired, and cannot be registered any more.
        """
        upload = (await self._histories.uploads([cleanup.upload_id])).get(cleanup.upload_id)
        if upload is None or upload.erased:
            removed = await self._remove(prefixes_of(cleanup.upload_id))
        else:
            removed = await self._remove(upload_prefixes_of(cleanup.upload_id), keep=upload.original_key)
        await self._cleanups.finish(cleanup)
        return removed

    async def clean_one(self, upload_id: UUID) -> tuple[int, bool]:
        """Clean one upload now; return how many objects were removed, and whether nobody may write any more."""
        cleanup = await self._cleanups.claim_one(upload_id)
        return await self.clean(cleanup), cleanup.last

    async def _remove(self, prefixes: tuple[str, ...], *, keep: str | None = None) -> int:
        removed = 0
        for prefix in prefixes:
            await self._objects.discard_unfinished(prefix)
            async for key in self._objects.list_keys(prefix):
                if key != keep:
                    await self._objects.delete(key)
                    removed += 1
        return removed
