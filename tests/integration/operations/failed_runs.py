"""Failed runs by the thousand, written as events straight into the store; and a saga whose stages do as a test says."""

import asyncio
import contextlib
import datetime as dt
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from uuid import UUID, uuid4

from msgspec.structs import replace

from contracts.events import (
    Event,
    GenerationStarted,
    ImageGenerated,
    ImageValidated,
    PreviewWatermarked,
    ProcessingCompleted,
    ProcessingFailed,
    ProcessingRequested,
    ReplayRequested,
    ResultStored,
    Stage,
    UploadRegistered,
)
from shared.bootstrap import Runtime, embedded_runtime
from shared.eventstore.application import UploadsApplication
from shared.operations.context import OperatorContext, operator_context
from shared.projection.uploads import changes_of
from shared.settings import load
from shared.storage.keys import generated_key, original_key

LONG_AGO = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
CONTENT = {"content_type": "image/png", "width": 8, "height": 8, "size_bytes": 80}


def failed_run(
    number: int = 0, *, at: Stage = Stage.STORING, code: str = "STORAGE_UNAVAILABLE", retryable: bool = True
) -> list[Event]:
    """The events of an upload whose run failed; the higher the number, the later."""
    upload_id, run = uuid4(), uuid4()
    facts: list[Callable[..., Event]] = []

    def fact(kind: type[Event], **content: object) -> None:
        nth = len(facts) + 1
        ids = {} if kind is UploadRegistered else {"workflow_run_id": run, "attempt": 1}
        facts.append(
            kind(
                upload_id=upload_id,
                version=nth,
                occurred_at=LONG_AGO + dt.timedelta(seconds=number, milliseconds=nth),
                **ids,
                **content,
            )
        )

    original = original_key(upload_id)
    fact(UploadRegistered, email="ann@example.com", session_token_digest="d" * 64, original_key=original, **CONTENT)
    fact(ProcessingRequested, original_key=original, deadline_at=LONG_AGO + dt.timedelta(days=365))
    if at is not Stage.VALIDATING:
        fact(ImageValidated, original_key=original, format="png", sha256="0" * 64, width=8, height=8, size_bytes=80)
    if at in (Stage.STORING, Stage.WATERMARKING):
        fact(GenerationStarted, worker="w", call=1, lease_until=LONG_AGO)
        key = generated_key(upload_id, run, 1)
        fact(ImageGenerated, generated_key=key, generation=1, provider="gemini", model="m", **CONTENT)
    if at is Stage.WATERMARKING:
        fact(ResultStored, result_id=uuid4(), result_key=f"results/{upload_id}/r", **CONTENT)
    fact(ProcessingFailed, stage=at, code=code, message="It did not work.", retryable=retryable)
    return facts


def store_runs(database_url: str, runs: Sequence[list[Event]]) -> list[UUID]:
    """Write whole streams, with their rows; gives the uploads' ids."""
    application = UploadsApplication(database_url)
    try:
        for some in batches(runs, 500):
            application.save(*(event for run in some for event in run), changes=[changes_of(run) for run in some])
    finally:
        application.close()
    return [run[0].upload_id for run in runs]


def batches(runs: Sequence[list[Event]], size: int) -> list[Sequence[list[Event]]]:
    return [runs[first : first + size] for first in range(0, len(runs), size)]


class Saga:
    """Stages in this process that make nothing, and fail or wait where a test says so. Notes each try."""

    def __init__(self) -> None:
        self.fails: Callable[[UUID, Stage], Exception | None] = lambda upload_id, stage: None
        self.holds: Callable[[UUID], bool] = lambda upload_id: False
        self.let_go = asyncio.Event()
        self.done: list[tuple[Stage, UUID]] = []

    def attach(self, runtime: Runtime) -> None:
        for stage, made in MADE.items():
            runtime.attach_stage(stage, self._handler(stage, made))

    def _handler(self, stage: Stage, made: Callable[..., object]) -> Callable[..., object]:
        async def handle(event, context):
            if self.holds(event.upload_id):
                await self.let_go.wait()
            self.done.append((stage, event.upload_id))
            if (error := self.fails(event.upload_id, stage)) is not None:
                raise error
            return made(event, context)

        return handle


def _stored(event, context):
    return context.build(ResultStored, result_id=uuid4(), result_key=f"results/{event.upload_id}/r", **CONTENT)


def _watermarked(event, context):
    preview = context.build(PreviewWatermarked, preview_key=f"previews/{event.upload_id}/r.jpg", **CONTENT)
    done = context.build(ProcessingCompleted, result_id=event.result_id, preview_key=preview.preview_key)
    return preview, replace(done, version=done.version + 1)


MADE = {Stage.STORING: _stored, Stage.WATERMARKING: _watermarked}


def settings_for(database_url: str, folder: Path, **env: str):
    """Settings of a process on the test's database, with everything else local."""
    return load({"DATABASE_URL": database_url, "GENERATOR": "local", "GRACE_PERIOD": "2", **env}, data_dir=folder)


@contextlib.asynccontextmanager
async def running(runtime: Runtime) -> AsyncIterator[OperatorContext]:
    """Run a process's parts in this one, and return an operator's desk over them."""
    stop = asyncio.Event()
    task = asyncio.create_task(runtime.run(stop))
    try:
        while runtime.pool.closed:
            await asyncio.sleep(0.01)
        yield operator_context(runtime.pool, runtime.store)
    finally:
        stop.set()
        await task


@contextlib.asynccontextmanager
async def embedded(database_url: str, folder: Path, saga: Saga) -> AsyncIterator[OperatorContext]:
    """Run an embedded saga, dispatcher included."""
    runtime = embedded_runtime(settings_for(database_url, folder), public_url="http://127.0.0.1:1")
    saga.attach(runtime)
    async with running(runtime) as context:
        yield context


async def until(true: Callable[[], object], *, within: float = 30.0) -> None:
    """Wait for a condition, awaiting it where it asks for that."""
    async with asyncio.timeout(within):
        while True:
            answer = true()
            if await answer if asyncio.iscoroutine(answer) else answer:
                return
            await asyncio.sleep(0.05)


def replays(events: Sequence[Event]) -> list[ReplayRequested]:
    return [event for event in events if isinstance(event, ReplayRequested)]
