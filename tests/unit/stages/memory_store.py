"""The event store in memory: the same promises as the real one, with a gate before and after each of its operations."""

import asyncio
import datetime as dt
from collections.abc import Awaitable, Callable
from uuid import UUID

from contracts.events import Event
from shared.eventstore.group_commit import ConflictError
from shared.eventstore.outbox import RUN_CHECK, OutboxRow, rows_for
from shared.projection.uploads import RowChange, change_of, merge
from shared.upload.errors import UploadNotFoundError
from shared.upload.upload import Upload, evolve, fold

Gate = Callable[[], Awaitable[None]]


async def _open() -> None:
    """A gate that is never shut."""
    await asyncio.sleep(0)


class MemoryStore:
    """Streams, outbox and read model, appended to together. `gate` is awaited where a process could die or be slow."""

    def __init__(self, gate: Gate = _open) -> None:
        self.streams: dict[UUID, list[Event]] = {}
        self.rows: dict[UUID, RowChange] = {}
        self.outbox: list[OutboxRow] = []
        self.looks: list[tuple[UUID, dt.datetime]] = []
        self._gate = gate

    async def load(self, upload_id: UUID, *, wait: float | None = None) -> Upload:
        await self._gate()
        upload = fold(None, self.streams.get(upload_id, ()))
        await self._gate()
        if upload is None:
            raise UploadNotFoundError(upload_id)
        return upload

    async def append(self, *events: Event, causation_id: str | None = None, **_: object) -> None:
        await self._gate()
        self.write(*events)
        await self._gate()

    async def bring_check_forward(self, upload_id: UUID, *, by: dt.datetime) -> None:
        await self._gate()
        self.looks.append((upload_id, by))

    def write(self, *events: Event) -> None:
        """Append at once, without a gate. Raises ConflictError where the first version is taken."""
        stream = self.streams.setdefault(events[0].upload_id, [])
        if events[0].version <= len(stream):
            raise ConflictError(events[0].message_id)
        upload = fold(None, stream)
        for event in events:
            upload = evolve(upload, event)  # raises where versions skip or the aggregate cannot take the event
            change = change_of(event)
            row = self.rows.get(event.upload_id)
            self.rows[event.upload_id] = change if row is None else merge(row, change)
            self.outbox += [row for row in rows_for(event) if row.target != RUN_CHECK]
        stream += events
