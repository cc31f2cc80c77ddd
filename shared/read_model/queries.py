"""What readers ask of the read model: plain SQL, no domain objects on the way."""

import asyncio
import datetime as dt
from collections.abc import Sequence
from uuid import UUID

import msgspec
from psycopg.rows import class_row
from psycopg_pool import AsyncConnectionPool

from contracts.events import Stage, Status
from shared.projection.uploads import ERASED
from shared.read_model.batch_loader import BatchLoader
from shared.upload.upload import Upload


class UploadRow(msgspec.Struct, frozen=True, kw_only=True):
    """One row of `uploads`, by its columns' names."""

    id: UUID
    session_token_digest: str
    original_key: str
    status: str
    stage: str | None
    progress: int
    workflow_run_id: UUID | None
    attempt: int
    result_id: UUID | None
    result_key: str | None
    preview_key: str | None
    preview_width: int | None
    preview_height: int | None
    preview_content_type: str | None
    error_code: str | None
    error_message: str | None
    error_retryable: bool | None
    version: int
    created_at: dt.datetime
    updated_at: dt.datetime

    @property
    def erased(self) -> bool:
        """Return whether the upload was erased: then nobody is its owner any more."""
        return self.session_token_digest == ERASED

    def pending_upload(self) -> Upload:
        """Return the aggregate as far as starting a run looks at it, sparing a read of the stream.

        The row is written in the transaction of the event at `version`; an append at the next version proves it fresh.
        """
        return Upload(
            id=self.id,
            version=self.version,
            status=Status(self.status),
            stage=Stage(self.stage) if self.stage else None,
            workflow_run_id=self.workflow_run_id,
            attempt=self.attempt,
            original_key=self.original_key,
            due_at=self.updated_at,
        )


_COLUMNS = ", ".join(UploadRow.__struct_fields__)

# LIMIT keeps the planner from joining, and so from reading the whole table for a handful of rows.
_BY_ID = """
SELECT found.* FROM unnest(%b::uuid[]) AS wanted (id)
CROSS JOIN LATERAL (SELECT {columns} FROM uploads WHERE uploads.id = wanted.id LIMIT 1) AS found
"""


class UploadQueries:
    """Reads of `uploads`. Every method may raise psycopg.OperationalError or psycopg_pool.PoolTimeout."""

    def __init__(self, pool: AsyncConnectionPool) -> None:
        self._pool = pool
        self._rows = BatchLoader(self._rows_of)
        self._versions = BatchLoader(self._versions_of)

    def get(self, upload_id: UUID) -> "asyncio.Future[UploadRow | None]":
        """Return the row of an upload: one look-up by primary key, shared with others at the same time."""
        return self._rows.get(upload_id)

    def version(self, upload_id: UUID) -> "asyncio.Future[int | None]":
        """Return only the version that an upload's row is at."""
        return self._versions.get(upload_id)

    async def by_result(self, result_id: UUID) -> UploadRow | None:
        """Return the row of the upload whose latest result this is."""
        return await self._one(f"SELECT {_COLUMNS} FROM uploads WHERE result_id = %b", result_id)  # noqa: S608

    async def by_run(self, workflow_run_id: UUID) -> UploadRow | None:
        """Return the row of the upload that a run works on."""
        return await self._one(f"SELECT {_COLUMNS} FROM uploads WHERE workflow_run_id = %b", workflow_run_id)  # noqa: S608

    async def _rows_of(self, upload_ids: Sequence[UUID]) -> dict[UUID, UploadRow]:
        async with self._pool.connection() as conn, conn.cursor(row_factory=class_row(UploadRow)) as curs:
            await curs.execute(_BY_ID.format(columns=_COLUMNS), (upload_ids,), prepare=True)
            return {row.id: row for row in await curs.fetchall()}

    async def _versions_of(self, upload_ids: Sequence[UUID]) -> dict[UUID, int]:
        async with self._pool.connection() as conn:
            curs = await conn.execute(_BY_ID.format(columns="id, version"), (upload_ids,), prepare=True, binary=True)
            return dict(await curs.fetchall())

    async def _one(self, query: str, key: UUID) -> UploadRow | None:
        async with self._pool.connection() as conn, conn.cursor(row_factory=class_row(UploadRow)) as curs:
            await curs.execute(query, (key,), prepare=True)
            return await curs.fetchone()
