"""What readers ask of the read model: plain SQL, no domain objects on the way."""

import datetime as dt
from uuid import UUID

import msgspec
from psycopg.rows import class_row
from psycopg_pool import AsyncConnectionPool

from contracts.events import Stage, Status
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

    def pending_upload(self) -> Upload:
        """Give the aggregate as far as starting a run looks at it, sparing a read of the stream.

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
            session_token_digest=self.session_token_digest,
            stage_entered_at=self.updated_at,
            due_at=self.updated_at,
        )


_COLUMNS = ", ".join(UploadRow.__struct_fields__)


class UploadQueries:
    """Reads of `uploads`. Every method may raise psycopg.OperationalError or psycopg_pool.PoolTimeout."""

    def __init__(self, pool: AsyncConnectionPool) -> None:
        self._pool = pool

    async def get(self, upload_id: UUID) -> UploadRow | None:
        """Give the row of an upload: one look-up by primary key."""
        return await self._one(f"SELECT {_COLUMNS} FROM uploads WHERE id = %b", upload_id)  # noqa: S608 — own columns

    async def by_result(self, result_id: UUID) -> UploadRow | None:
        """Give the row of the upload whose latest result this is."""
        return await self._one(f"SELECT {_COLUMNS} FROM uploads WHERE result_id = %b", result_id)  # noqa: S608

    async def by_run(self, workflow_run_id: UUID) -> UploadRow | None:
        """Give the row of the upload that a run works on."""
        return await self._one(f"SELECT {_COLUMNS} FROM uploads WHERE workflow_run_id = %b", workflow_run_id)  # noqa: S608

    async def _one(self, query: str, key: UUID) -> UploadRow | None:
        async with self._pool.connection() as conn, conn.cursor(row_factory=class_row(UploadRow)) as curs:
            await curs.execute(query, (key,), prepare=True)
            return await curs.fetchone()
