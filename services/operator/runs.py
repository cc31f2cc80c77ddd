"""`darkroom runs`: what an operator sees of runs, straight from the read model and the event store."""

import asyncio
from collections.abc import Sequence
from uuid import UUID

import msgspec
from psycopg_pool import AsyncConnectionPool
from rich.console import Console
from rich.table import Table

from contracts.events import Event, Stage, Status
from shared.eventstore.application import UploadsApplication
from shared.projection.queries import RunFilter, UploadQueries, UploadRow

_IDENTITY = {"upload_id", "version", "occurred_at", "workflow_run_id", "attempt"}
_PERSONAL = {"email", "session_token_digest"}


async def list_runs(database_url: str, *, status: str | None, stage: str | None, code: str | None, limit: int) -> None:
    """Print runs, the last changed first."""
    wanted = RunFilter(
        status=Status(status) if status else None, stage=Stage(stage) if stage else None, code=code, limit=limit
    )
    async with AsyncConnectionPool(database_url, open=False, max_size=1, min_size=1) as pool:
        rows = await UploadQueries(pool).runs(wanted)
    table = Table("run", "upload", "status", "stage", "attempt", "error", "changed")
    for row in rows:
        error = f"{row.error_code}{' (retryable)' if row.error_retryable else ''}" if row.error_code else ""
        changed = row.updated_at.isoformat(timespec="seconds")
        table.add_row(
            str(row.workflow_run_id), str(row.id), row.status, row.stage, str(row.attempt), error, changed
        )
    Console(width=None if Console().is_terminal else 200).print(table)


async def show_run(database_url: str, run_or_upload: UUID) -> int:
    """Print one run's events, oldest first. Gives the exit status: 1 where there is no such run."""
    async with AsyncConnectionPool(database_url, open=False, max_size=1, min_size=1) as pool:
        reads = UploadQueries(pool)
        row = await reads.by_run(run_or_upload) or await reads.get(run_or_upload)
    if row is None:
        Console(stderr=True).print(f"there is no run or upload {run_or_upload}")
        return 1
    application = UploadsApplication(database_url, pool_size=1)
    try:
        events = await asyncio.to_thread(application.history, row.id)
    finally:
        application.close()
    _print(row, events)
    return 0


def _print(row: UploadRow, events: Sequence[Event]) -> None:
    console = Console(width=None if Console().is_terminal else 200)
    console.print(f"upload {row.id}   run {row.workflow_run_id}   {row.status} at {row.stage}, attempt {row.attempt}")
    table = Table("#", "when", "attempt", "event", "what")
    for event in events:
        content = msgspec.to_builtins(event)
        hidden = _IDENTITY | _PERSONAL | {"type"}
        what = "  ".join(f"{name}={value}" for name, value in content.items() if name not in hidden)
        when = event.occurred_at.isoformat(timespec="milliseconds")
        table.add_row(str(event.version), when, str(content.get("attempt", "")), type(event).__name__, what)
    console.print(table)
