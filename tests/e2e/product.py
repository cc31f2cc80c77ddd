"""What the end-to-end tests look at once the dust has settled: streams, objects, and what was written where."""

from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import UUID

import psycopg

from contracts.events import (
    Event,
    ImageGenerated,
    ImageValidated,
    PreviewWatermarked,
    ProcessingCompleted,
    ProcessingRequested,
    ResultStored,
    decode,
)
from shared.upload.upload import fold
from tests.stack import Client, Stack, eventually

ONCE = (ProcessingRequested, ImageValidated, ImageGenerated, ResultStored, PreviewWatermarked, ProcessingCompleted)
Job = tuple[str, str]
"""An upload's id and its session token."""


def uploaded(client: Client, image: bytes, number: int) -> list[Job]:
    """Upload a photo a number of times, eight at once."""
    with ThreadPoolExecutor(8) as pool:
        return list(pool.map(lambda _: client.upload(image), range(number)))


def started(client: Client, jobs: Iterable[Job]) -> None:
    """Start every job; each is accepted."""
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda job: client.start(*job), jobs))
    assert {answer.status_code for answer in answers} <= {202}, [answer.text for answer in answers][:3]


def count(database_url: str, table: str, where: str = "true") -> int:
    with psycopg.connect(database_url) as conn:
        row = conn.execute(f"SELECT count(*) FROM {table} WHERE {where}").fetchone()  # noqa: S608 — own words
    assert row is not None
    return int(row[0])


def wait_until_over(stack: Stack, jobs: Sequence[Job], *, within: float) -> None:
    """Wait until no job is under way any more."""
    ids = ", ".join(f"'{upload_id}'" for upload_id, _ in jobs)
    where = f"id IN ({ids}) AND status IN ('completed', 'failed')"
    eventually(
        lambda: count(stack.database_url, "uploads", where) == len(jobs), within=within, every=0.3, or_show=stack.logs
    )


def history(database_url: str, upload_id: str) -> list[Event]:
    query = "SELECT state FROM upload_events WHERE originator_id = %s ORDER BY originator_version"
    with psycopg.connect(database_url) as conn:
        return [decode(bytes(state)) for (state,) in conn.execute(query, (UUID(upload_id),))]


def assert_all_completed_once(stack: Stack, jobs: Sequence[Job]) -> None:
    """See that each run completed: one event of a kind, versions without gaps, one result and one preview object."""
    for upload_id, _ in jobs:
        events = history(stack.database_url, upload_id)
        assert [event.version for event in events] == list(range(1, len(events) + 1))
        kinds = Counter(type(event) for event in events)
        upload = fold(None, events)
        assert upload is not None
        assert upload.status == "completed", (upload.failure, stack.logs())
        assert {kind: kinds[kind] for kind in ONCE} == dict.fromkeys(ONCE, 1)
        for folder in ("results", "previews"):
            assert len(list((stack.folder / "objects" / folder / upload_id).iterdir())) == 1


def objects(stack: Stack) -> set[str]:
    """Name everything that lies in the object store, the bytes included."""
    root = stack.folder / "objects"
    return {str(path.relative_to(root)) for path in root.rglob("*") if not path.is_dir()}


def texts(folder: Path) -> dict[str, str]:
    """Read every log."""
    return {path.name: path.read_text(errors="replace") for path in folder.glob("*.log")}
