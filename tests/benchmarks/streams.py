"""Uploads by the thousand, with their events and rows, written as the product would have and loaded with COPY."""

import datetime as dt
import hashlib
import itertools
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from uuid import UUID

import msgspec
import psycopg
import uuid_utils.compat

from contracts.events import (
    Event,
    GenerationStarted,
    ImageGenerated,
    ImageValidated,
    PreviewWatermarked,
    ProcessingCompleted,
    ProcessingFailed,
    ProcessingRequested,
    ResultStored,
    Stage,
    UploadRegistered,
    encode,
)
from shared.projection.uploads import COLUMNS, changes_of
from shared.storage.keys import generated_key, original_key, preview_key, result_id, result_key
from shared.upload.saga import RUN_DEADLINE

TOKEN = "benchmark-session-token-of-32-bytes-or-more"
"""Every upload's session token; the server cannot tell and does the same work for each."""
_DIGEST = hashlib.sha256(TOKEN.encode()).hexdigest()
_PICTURE = {"content_type": "image/jpeg", "width": 1600, "height": 1067, "size_bytes": 412_345}
_BATCH = 5_000
_MANY = 50_000
_SECOND = dt.timedelta(seconds=1)

REGISTERED, VALIDATED, COMPLETED = 1, 3, 8
"""Events in a stream that got so far."""
FAILED = -1
"""A stream that failed at storing, and may be replayed."""


def stream(upload_id: UUID, begun: dt.datetime, length: int) -> Sequence[Event]:
    """Return an upload's events up to `length`, a second apart."""
    run, generation = uuid_utils.compat.uuid7(), 1
    name = result_id(run, generation)
    original, generated = original_key(upload_id), generated_key(upload_id, run, generation)
    preview = preview_key(upload_id, name)
    kinds: list[tuple[type[Event], dict[str, object]]] = [
        (ProcessingRequested, {"original_key": original, "deadline_at": begun + RUN_DEADLINE}),
        (ImageValidated, {"original_key": original, "width": 6000, "height": 4000, "format": "jpeg",
                          "sha256": _DIGEST, "size_bytes": 5_123_456}),
        (GenerationStarted, {"worker": "generator-7d9f:12", "call": 1, "lease_until": begun + 180 * _SECOND}),
        (ImageGenerated, {"generated_key": generated, "generation": 1, "provider": "gemini",
                          "model": "gemini-3.1-flash-image", **_PICTURE}),
        (ResultStored, {"result_id": name, "result_key": result_key(upload_id, name), **_PICTURE}),
        (PreviewWatermarked, {"preview_key": preview, **_PICTURE}),
        (ProcessingCompleted, {"result_id": name, "preview_key": preview}),
    ]  # fmt: skip
    if length == FAILED:
        failure = {"stage": Stage.STORING, "code": "STORAGE_UNAVAILABLE", "message": "No answer.", "retryable": True}
        kinds[4:] = [(ProcessingFailed, failure)]
        length = len(kinds) + 1
    events: list[Event] = [_registered(upload_id, begun, original)]
    for version, (kind, content) in enumerate(kinds[: length - 1], start=2):
        events.append(
            kind(
                upload_id=upload_id,
                version=version,
                occurred_at=begun + version * _SECOND,
                workflow_run_id=run,
                attempt=1,
                **content,
            )
        )
    return events


def fill(database_url: str, number: int, length: int, *, analyze: bool = True) -> list[UUID]:
    """Add `number` uploads whose streams are `length` long, the last of them begun just now; return their ids.

    Many are written by two processes: encoding them in Python is half of the work.
    """
    now = dt.datetime.now(dt.UTC)
    if number <= _MANY:
        ids = _write(database_url, now, number, length)
    else:
        half = number // 2
        with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as processes:
            work = processes.map(_write, *zip(
                (database_url, now - half * _SECOND, number - half, length), (database_url, now, half, length),
                strict=True,
            ))  # fmt: skip
            ids = list(itertools.chain.from_iterable(work))
    if analyze:
        with psycopg.connect(database_url, autocommit=True) as conn:
            conn.execute("VACUUM (ANALYZE) upload_events, uploads, outbox")
            conn.execute("CHECKPOINT")
    return ids


def _write(database_url: str, now: dt.datetime, number: int, length: int) -> list[UUID]:
    ids: list[UUID] = []
    with psycopg.connect(database_url, autocommit=True) as conn:
        while len(ids) < number:
            batch = min(_BATCH, number - len(ids))
            begun = [now - (number - len(ids) - nth) * _SECOND for nth in range(batch)]
            streams = [stream(uuid_utils.compat.uuid7(), at, length) for at in begun]
            with conn.transaction():
                _copy(conn, streams)
            ids += [events[0].upload_id for events in streams]
    return ids


def sample(database_url: str, number: int) -> list[UUID]:
    """Return the ids of uploads from everywhere in the table."""
    with psycopg.connect(database_url) as conn:
        rows = conn.execute("SELECT id FROM uploads ORDER BY md5(id::text) LIMIT %s", (number,)).fetchall()
    return [upload_id for (upload_id,) in rows]


def event_rows(streams: Sequence[Sequence[Event]]) -> Iterator[tuple[UUID, int, str, bytes]]:
    for events in streams:
        for event in events:
            yield event.upload_id, event.version, type(event).__name__, encode(event)


def _copy(conn: psycopg.Connection, streams: Sequence[Sequence[Event]]) -> None:
    columns = "originator_id, originator_version, topic, state"
    with conn.cursor().copy(f"COPY upload_events ({columns}) FROM STDIN (FORMAT BINARY)") as copy:
        copy.set_types(["uuid", "int8", "text", "bytea"])
        for row in event_rows(streams):
            copy.write_row(row)
    with conn.cursor().copy(f"COPY uploads ({', '.join(COLUMNS)}) FROM STDIN") as copy:
        for events in streams:
            copy.write_row(msgspec.structs.astuple(changes_of(events)))


def _registered(upload_id: UUID, begun: dt.datetime, original: str) -> UploadRegistered:
    return UploadRegistered(
        upload_id=upload_id,
        version=1,
        occurred_at=begun,
        email="someone@example.com",
        session_token_digest=_DIGEST,
        original_key=original,
        content_type="image/jpeg",
        size_bytes=5_123_456,
        width=6000,
        height=4000,
    )
