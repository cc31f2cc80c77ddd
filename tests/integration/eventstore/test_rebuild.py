"""`uploads` thrown away and made anew from the events: the same rows, and every difference told."""

import asyncio
import threading
from uuid import uuid4

import psycopg
import pytest

from contracts.events import ProcessingCompleted, ProcessingRequested, UploadErased, UploadRegistered
from shared.projection.uploads import COLUMNS
from shared.read_model.rebuild import rebuild
from tests.builders import A_WHOLE_RUN, a_run_up_to, a_stream, an_event
from tests.integration.eventstore.opened import asked, opened

TABLE = f"SELECT {', '.join(COLUMNS)} FROM uploads ORDER BY id"  # noqa: S608 — own names
SHAPE = """
SELECT indexname, indexdef FROM pg_indexes WHERE tablename = 'uploads'
UNION ALL SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = 'uploads'::regclass
UNION ALL SELECT attname, format_type(atttypid, atttypmod) || attnotnull FROM pg_attribute
    WHERE attrelid = 'uploads'::regclass AND attnum > 0
UNION ALL SELECT 'options', reloptions::text FROM pg_class WHERE oid = 'uploads'::regclass
UNION ALL SELECT 'access', relacl::text FROM pg_class WHERE oid = 'uploads'::regclass
ORDER BY 1, 2
"""


async def fill(database_url, number=20):
    """Record some runs, each a little further than the one before."""
    async with opened(database_url) as parts:
        for n in range(number):
            await parts.append(*a_run_up_to(A_WHOLE_RUN[n % len(A_WHOLE_RUN)], upload_id=uuid4()))


@pytest.fixture
async def filled(database_url):
    await fill(database_url)
    return database_url


async def test_a_table_that_was_emptied_comes_back_row_for_row(filled):
    before = asked(filled, TABLE)
    asked(filled, "TRUNCATE uploads")

    report = rebuild(filled)

    assert asked(filled, TABLE) == before
    assert (report.uploads, report.different) == (20, 20)


async def test_where_nothing_differs_it_says_so_and_counts_what_it_read(filled):
    report = rebuild(filled)

    assert (report.uploads, report.different) == (20, 0)
    assert report.events == asked(filled, "SELECT count(*) FROM upload_events")[0][0]


async def test_it_counts_exactly_the_rows_that_somebody_tampered_with(filled):
    before = asked(filled, TABLE)
    asked(filled, "UPDATE uploads SET progress = 77 WHERE id IN (SELECT id FROM uploads ORDER BY id LIMIT 3)")
    asked(filled, "DELETE FROM uploads WHERE id = (SELECT max(id::text)::uuid FROM uploads)")
    asked(filled, "INSERT INTO uploads (id, progress, version, updated_at) VALUES (%s, 0, 1, now())", uuid4())

    assert rebuild(filled).different == 5
    assert asked(filled, TABLE) == before
    assert rebuild(filled).different == 0


async def test_an_empty_store_gives_an_empty_table(database_url):
    report = rebuild(database_url)

    assert (report.uploads, report.events, report.different) == (0, 0, 0)


async def test_columns_indexes_options_and_rights_are_the_usual_ones_however_often_it_is_rebuilt(filled):
    asked(filled, "GRANT SELECT ON uploads TO PUBLIC")
    before = asked(filled, SHAPE)

    for _ in range(3):
        rebuild(filled)
        assert asked(filled, SHAPE) == before


async def test_a_rebuild_that_was_killed_does_not_stand_in_the_way_of_the_next(filled):
    asked(filled, "CREATE TABLE uploads_rebuilt (LIKE uploads INCLUDING ALL)")

    assert rebuild(filled).uploads == 20
    assert asked(filled, "SELECT to_regclass('uploads_rebuilt')") == [(None,)]


async def test_two_rebuilds_at_once_take_turns(filled):
    reports = await asyncio.gather(*(asyncio.to_thread(rebuild, filled) for _ in range(3)))

    assert [report.different for report in reports] == [0, 0, 0]


async def test_an_erased_upload_is_rebuilt_as_it_stands(database_url):
    stream = a_run_up_to(ProcessingCompleted)
    async with opened(database_url) as parts:
        await parts.append(*stream)
        await parts.append(an_event(UploadErased, version=len(stream) + 1))

    assert rebuild(database_url).different == 0
    assert asked(database_url, "SELECT email, session_token_digest FROM uploads") == [("", "")]


async def test_traffic_that_goes_on_meanwhile_is_neither_lost_nor_counted_as_a_difference(database_url):
    await fill(database_url, 200)
    stop = asyncio.Event()
    written: list[str] = []

    async def traffic():
        async with opened(database_url) as parts:
            while not stop.is_set():
                stream = a_stream(*A_WHOLE_RUN, upload_id=uuid4())
                for event in stream:
                    await parts.append(event)
                written.append(str(stream[0].upload_id))

    writers = [asyncio.create_task(traffic()) for _ in range(8)]
    try:
        reports = [await asyncio.to_thread(rebuild, database_url) for _ in range(6)]
    finally:
        stop.set()
        await asyncio.gather(*writers)

    assert [report.different for report in reports] == [0] * 6
    assert len(written) > 8
    completed = asked(database_url, "SELECT count(*) FROM uploads WHERE status = 'completed' AND version = 8")
    assert completed == [(len(written) + 25,)]
    assert rebuild(database_url).different == 0


async def test_an_append_that_was_half_way_when_the_table_was_swapped_ends_in_the_new_table(database_url):
    await fill(database_url)
    stream = a_stream(UploadRegistered, ProcessingRequested, upload_id=uuid4())
    async with opened(database_url) as parts:
        await parts.append(stream[0])
        with psycopg.connect(database_url) as held:
            held.execute("SELECT 1 FROM uploads WHERE id = %s FOR UPDATE", (stream[0].upload_id,))
            half_way = asyncio.create_task(parts.append(stream[1]))
            waiting = "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
            while not asked(database_url, waiting):
                await asyncio.sleep(0.01)
            rebuilding = threading.Thread(target=rebuild, args=(database_url,))
            rebuilding.start()
            while len(asked(database_url, waiting)) < 2:
                await asyncio.sleep(0.01)
        await half_way
        await asyncio.to_thread(rebuilding.join)

    assert asked(database_url, "SELECT version, status FROM uploads WHERE id = %s", stream[0].upload_id) == [
        (2, "processing")
    ]
    assert rebuild(database_url).different == 0
