"""Anonymous storage ends: uploads that nobody started are erased, by the database's clock, and no run is cut short.

Seen before: an upload that was never started was kept for ever, its photo and its e-mail with it.
"""

import asyncio
import datetime as dt
from uuid import UUID, uuid4

import psycopg
import pytest
from msgspec.structs import replace
from psycopg_pool import AsyncConnectionPool

from contracts.events import (
    ImageValidated,
    ProcessingCompleted,
    ProcessingFailed,
    ProcessingRequested,
    Status,
    UploadErased,
    UploadRegistered,
)
from services.gateway.uploads.janitor import janitor_of
from shared.eventstore.group_commit import ConflictError
from shared.eventstore.object_cleanups import ObjectCleanups
from shared.eventstore.stream_reader import StreamReader
from shared.operations.kept_uploads import KeptUploads
from shared.operations.object_cleanup import ObjectCleaner
from shared.operations.retention import BATCH, Retention, rules_of
from shared.read_model.rebuild import rebuild
from shared.settings import load
from shared.storage.local import LocalObjectStore
from shared.storage.port import ObjectStoreError
from shared.upload.decisions import request_processing
from tests.builders import a_run_up_to, a_stream
from tests.integration.eventstore.opened import asked, opened
from tests.integration.gateway.gateways import PHOTO
from tests.integration.gateway.in_process import a_served_gateway
from tests.integration.operations.failed_runs import store_runs
from tests.stack import Client

WEEK = rules_of(7, 0)


def uploads(number, *kinds):
    """Streams of uploads of their own."""
    return [a_stream(*(kinds or (UploadRegistered,)), upload_id=uuid4(), run_id=uuid4()) for _ in range(number)]


def age(database_url, *, days=8, only=None):
    """Have uploads lie there for days, by the database's clock."""
    with psycopg.connect(database_url) as conn:
        conn.execute(
            "UPDATE kept_uploads SET since = since - %s WHERE %s::uuid[] IS NULL OR upload_id = ANY(%s)",
            (dt.timedelta(days=days), only, only),
        )


def kinds_of(database_url):
    """Count uploads by how their streams end."""
    query = (
        "SELECT topic, count(*)::int FROM (SELECT DISTINCT ON (originator_id) topic FROM upload_events"
        " ORDER BY originator_id, originator_version DESC) AS last GROUP BY topic"
    )
    return dict(asked(database_url, query))


def left_of(database_url, upload_id):
    """All that the database says of an upload."""
    tables = (("uploads", "id"), ("upload_events", "originator_id"), ("pending_uploads", "id"))
    with psycopg.connect(database_url) as conn:
        return "".join(
            str(conn.execute(f"SELECT {table}::text FROM {table} WHERE {key} = %s", (upload_id,)).fetchall())  # noqa: S608
            for table, key in tables
        ) + str(
            conn.execute(
                "SELECT convert_from(state, 'UTF8') FROM upload_events WHERE originator_id = %s", (upload_id,)
            ).fetchall()
        )


async def test_an_upload_never_started_is_erased_after_its_days_and_its_photo_with_it(database_url, tmp_path):
    async with a_served_gateway(tmp_path, database_url) as (runtime, port):
        client = Client(f"http://127.0.0.1:{port}")
        old, new = [await asyncio.to_thread(client.upload, PHOTO) for _ in range(2)]
        age(database_url, only=[old[0]])
        objects = tmp_path / "objects"
        assert [path for path in objects.rglob("*") if old[0] in str(path)]
        await janitor_of(runtime).round()
        history = await runtime.store.history(UUID(old[0]))
        start = await asyncio.to_thread(client.start, *old)
        kept = await asyncio.to_thread(client.start, *new)
        client.http.close()
    assert [path for path in objects.rglob("*") if old[0] in str(path)] == []
    assert isinstance(history[-1], UploadErased)
    assert (history[-1].requested_by, history[-1].reason) == ("retention", "not started within 7 days")
    assert "ann@example.com" not in left_of(database_url, old[0])
    assert (start.status_code, start.json()["code"]) == (404, "UPLOAD_NOT_FOUND")
    assert kept.status_code == 202
    assert (await asyncio.to_thread(rebuild, database_url)).different == 0


async def test_it_is_on_where_nothing_is_set_and_off_where_it_is_said_so():
    retention = load({}).retention
    assert len(rules_of(retention.retention_unstarted_days, retention.retention_days)) == 1
    off = load({"RETENTION_UNSTARTED_DAYS": "0"}).retention
    assert rules_of(off.retention_unstarted_days, off.retention_days) == []


async def test_whatever_was_started_is_kept_unless_all_is_to_go_and_then_but_for_runs_under_way(database_url):
    runs = [
        *uploads(1),
        a_run_up_to(ImageValidated, upload_id=uuid4(), run_id=uuid4()),
        a_run_up_to(ProcessingCompleted, upload_id=uuid4(), run_id=uuid4()),
        *uploads(1, UploadRegistered, ProcessingRequested, ProcessingFailed),
    ]
    store_runs(database_url, runs)
    age(database_url)
    async with opened(database_url) as parts:
        kept = KeptUploads(parts.pool)
        await Retention(kept, parts.store, WEEK).round()
        assert kinds_of(database_url) == {
            "UploadErased": 1,
            "ImageValidated": 1,
            "ProcessingCompleted": 1,
            "ProcessingFailed": 1,
        }
        # Those that were started are looked at once: the next round finds nothing to claim.
        await let_claims_end(parts.pool)
        assert await kept.claim(dt.timedelta(days=7), 10, unstarted=True) == []
        await Retention(kept, parts.store, rules_of(7, 7)).round()
        assert kinds_of(database_url) == {"UploadErased": 3, "ImageValidated": 1}


async def test_the_hundredth_batch_is_erased_like_the_first_and_by_several_at_once(database_url):
    number = 100 * 5 + 7
    store_runs(database_url, uploads(number))
    age(database_url)
    async with opened(database_url) as one, opened(database_url) as other:
        workers = [_in_batches_of(5, parts) for parts in (one, other, one)]
        await asyncio.gather(*(worker.round() for worker in workers))
    assert kinds_of(database_url) == {"UploadErased": number}
    assert asked(database_url, "SELECT count(*)::int FROM upload_events WHERE topic = 'UploadErased'") == [(number,)]
    assert asked(database_url, "SELECT count(*)::int FROM object_cleanups") == [(number,)]
    assert asked(database_url, "SELECT count(*)::int FROM kept_uploads") == [(0,)]
    assert asked(database_url, "SELECT count(*)::int FROM uploads WHERE email <> ''") == [(0,)]


async def test_an_upload_of_a_gateway_whose_clock_is_a_year_wrong_is_kept_for_its_days(database_url):
    wrong = (dt.timedelta(days=-365), dt.timedelta(days=3650))
    runs = [[replace(run[0], occurred_at=run[0].occurred_at + by)] for run, by in zip(uploads(2), wrong, strict=True)]
    ids = store_runs(database_url, runs)
    async with opened(database_url) as parts:
        retention = Retention(KeptUploads(parts.pool), parts.store, WEEK)
        await retention.round()
        assert kinds_of(database_url) == {"UploadRegistered": 2}
        age(database_url, only=ids)
        await retention.round()
        assert kinds_of(database_url) == {"UploadErased": 2}


async def test_an_upload_started_at_the_moment_of_its_erasure_runs_or_is_refused(database_url):
    number = 60
    ids = store_runs(database_url, uploads(number))
    age(database_url)
    async with opened(database_url) as gateway, opened(database_url) as janitor:
        retention = Retention(KeptUploads(janitor.pool), janitor.store, WEEK)
        loaded = [await gateway.store.load(each) for each in ids]

        async def start(upload):
            event = request_processing(upload, workflow_run_id=uuid4(), now=dt.datetime.now(dt.UTC))
            try:
                await gateway.append(event)
            except ConflictError:
                return False
            return True

        started, _ = await asyncio.gather(asyncio.gather(*map(start, loaded)), retention.round())
        ends = [await gateway.store.load(each) for each in ids]
    for accepted, upload in zip(started, ends, strict=True):
        assert accepted == (upload.status is Status.PROCESSING)
        assert accepted != upload.erased
    assert sum(kinds_of(database_url).values()) == number


async def test_one_upload_that_cannot_be_read_keeps_no_other(database_url):
    [broken, *_] = store_runs(database_url, uploads(3))
    age(database_url)
    with psycopg.connect(database_url) as conn:
        conn.execute("UPDATE upload_events SET state = 'no event' WHERE originator_id = %s", (broken,))
    async with opened(database_url) as parts:
        await Retention(KeptUploads(parts.pool), parts.store, WEEK).round()
    assert kinds_of(database_url) == {"UploadErased": 2, "UploadRegistered": 1}


async def test_the_photos_of_a_whole_batch_go_though_the_store_was_away_when_they_were_due(database_url, tmp_path):
    ids = store_runs(database_url, uploads(BATCH + 1))
    store = LocalObjectStore(tmp_path / "objects", "http://127.0.0.1")
    for each in ids:
        await store.put(f"originals/{each}", b"photo", "image/jpeg")
    age(database_url)
    async with opened(database_url) as parts:
        cleaner = ObjectCleaner(ObjectCleanups(parts.pool), StreamReader(parts.pool), store)
        (tmp_path / "objects").rename(tmp_path / "away")
        await Retention(KeptUploads(parts.pool), parts.store, WEEK).round()
        with pytest.raises(ObjectStoreError):
            await cleaner.round()
        (tmp_path / "away").rename(tmp_path / "objects")
        await let_claims_end(parts.pool)
        await cleaner.round()
    assert [path for path in (tmp_path / "objects").rglob("*") if path.is_symlink()] == []
    assert list((tmp_path / "objects" / ".blobs").iterdir()) == []


async def let_claims_end(pool: AsyncConnectionPool):
    """Let as much time pass, by the database's clock, as claims and pauses take."""
    async with pool.connection() as conn:
        await conn.execute("UPDATE kept_uploads SET look_at = look_at - interval '1 hour'")
        await conn.execute(
            "UPDATE object_cleanups SET due_at = due_at - interval '1 hour', until = until - interval '1 hour'"
        )


def _in_batches_of(size, parts):
    retention = Retention(KeptUploads(parts.pool), parts.store, WEEK)
    claim = retention._kept.claim
    retention._kept.claim = lambda age, _, *, unstarted: claim(age, size, unstarted=unstarted)
    return retention
