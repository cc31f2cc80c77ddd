"""Who waits for a change is woken by NOTIFY; and where that was lost, by a look at the table for all at once."""

import asyncio
import contextlib
import uuid

import psycopg
import pytest

from services.gateway.jobs.status_streams import StatusStreams
from shared.database.migrate import migrate
from shared.eventstore.stream_reader import StreamReader
from shared.read_model import changes as listening
from shared.read_model.changes import ChangeListener
from shared.read_model.notifications import CHANNEL, pack
from tests.integration.gateway.in_process import a_served_gateway

LONG = 60.0


@contextlib.asynccontextmanager
async def listener(database_url, **options):
    """Listen, once the connection is known to."""
    changes = ChangeListener(database_url, **options)
    running = asyncio.create_task(changes.run())
    try:
        await heard(changes, database_url)
        yield changes
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def heard(changes, database_url):
    """Wait until a change is told: LISTEN has been said."""
    probe = uuid.uuid4()
    with changes.subscribe(probe) as subscribe:
        async with asyncio.timeout(20):
            while not subscribe.version:
                with contextlib.suppress(psycopg.OperationalError):
                    await notify(database_url, (probe, 1))
                await subscribe.wait_beyond(0, 0.05)


async def notify(database_url, *pairs):
    async with await psycopg.AsyncConnection.connect(database_url, autocommit=True) as conn:
        for payload in pack(pairs):
            await conn.execute("SELECT pg_notify(%s, %s)", (CHANNEL, payload))


async def set_version(database_url, upload_id, version):
    """Change a row without a word."""
    async with await psycopg.AsyncConnection.connect(database_url, autocommit=True) as conn:
        await conn.execute(
            "INSERT INTO uploads (id, progress, version, updated_at) VALUES (%s, 0, %s, now())"
            " ON CONFLICT (id) DO UPDATE SET version = excluded.version",
            (upload_id, version),
        )


async def test_a_waiter_is_woken_by_a_change_of_its_upload_only(database_url):
    async with listener(database_url, recheck=LONG) as changes:
        mine, other = uuid.uuid4(), uuid.uuid4()
        with changes.subscribe(mine) as subscribe, changes.subscribe(other) as bystander:
            waiting = asyncio.create_task(subscribe.wait_beyond(4, LONG))
            await notify(database_url, (mine, 4))
            await notify(database_url, (mine, 5))
            assert await asyncio.wait_for(waiting, 10)
            assert (subscribe.version, bystander.version) == (5, 0)


async def test_a_change_between_the_watch_and_the_wait_is_not_missed(database_url):
    async with listener(database_url, recheck=LONG) as changes:
        upload_id = uuid.uuid4()
        with changes.subscribe(upload_id) as subscribe, changes.subscribe(upload_id) as second:
            waiting = asyncio.create_task(second.wait_beyond(0, LONG))
            await notify(database_url, (upload_id, 7))
            assert await asyncio.wait_for(waiting, 10)
            assert await asyncio.wait_for(subscribe.wait_beyond(6, LONG), 1)


async def test_a_waiter_gives_up_when_its_time_is_over(database_url):
    changes = ChangeListener(database_url)
    with changes.subscribe(uuid.uuid4()) as subscribe:
        assert not await subscribe.wait_beyond(0, 0.01)
    assert changes.waiting == 0


async def test_a_change_whose_hint_was_lost_is_found(database_url):
    async with listener(database_url, recheck=0.2) as changes:
        upload_id = uuid.uuid4()
        with changes.subscribe(upload_id) as subscribe:
            waiting = asyncio.create_task(subscribe.wait_beyond(1, LONG))
            await set_version(database_url, upload_id, 2)
            assert await asyncio.wait_for(waiting, 10)


async def test_a_change_whose_hint_went_with_the_connection_is_found_as_soon_as_there_is_another(breakable_postgres):
    url = breakable_postgres.create_database()
    migrate(url)
    async with listener(url, recheck=LONG) as changes:
        upload_id = uuid.uuid4()
        with changes.subscribe(upload_id) as subscribe:
            waiting = asyncio.create_task(subscribe.wait_beyond(1, LONG))
            # Its hint is lost, and the next look would be in a minute.
            await set_version(url, upload_id, 2)
            assert not waiting.done()
            await asyncio.to_thread(breakable_postgres.restart)
            assert await asyncio.wait_for(waiting, 20)
        await heard(changes, url)


async def test_a_frozen_database_is_noticed_and_listened_to_anew(breakable_postgres, monkeypatch):
    monkeypatch.setattr(listening, "ANSWER", 1.0)
    url = breakable_postgres.create_database()
    migrate(url)
    async with listener(url, recheck=0.2) as changes:
        breakable_postgres.pause()
        try:
            async with asyncio.timeout(20):
                while changes.listening:
                    await asyncio.sleep(0.05)
        finally:
            breakable_postgres.resume()
        await heard(changes, url)


async def test_a_payload_of_somebody_else_does_no_harm(database_url):
    async with listener(database_url, recheck=LONG) as changes:
        async with await psycopg.AsyncConnection.connect(database_url, autocommit=True) as conn:
            for payload in ("", "nonsense", "x:1", f"{uuid.uuid4().hex}:x"):
                await conn.execute("SELECT pg_notify(%s, %s)", (CHANNEL, payload))
        await heard(changes, database_url)


class CountedHistories(StreamReader):
    def __init__(self, pool):
        super().__init__(pool)
        self.reads = 0

    async def after(self, upload_id, version):
        self.reads += 1
        return await super().after(upload_id, version)


async def test_a_stream_reads_when_it_begins_and_when_its_upload_changed_and_not_otherwise(database_url, tmp_path):
    async with a_served_gateway(tmp_path, database_url) as (runtime, _), listener(database_url, recheck=0.2) as changes:
        stream_reader = CountedHistories(runtime.pool)
        streams = StatusStreams(stream_reader, changes, runtime.objects, heartbeat=0.02)
        with_telemetry = [uuid.uuid4() for _ in range(50)]
        lines = [streams.lines(upload_id, 0) for upload_id in with_telemetry]
        # When to come back, and then signs of life, past several looks at the table.
        for _ in range(50):
            await asyncio.gather(*map(anext, lines))
        assert stream_reader.reads == 50
        await notify(database_url, (with_telemetry[0], 1))
        async with asyncio.timeout(10):
            while stream_reader.reads == 50:
                await anext(lines[0])
        for _ in range(10):
            await asyncio.gather(*map(anext, lines))
        assert stream_reader.reads == 51
        for stream in lines:
            await stream.aclose()
        assert changes.waiting == 0


@pytest.mark.parametrize("waiters", [1, 1000])
async def test_a_look_at_the_table_is_one_query_however_many_wait(database_url, waiters, monkeypatch):
    asked = []
    within = listening._within

    async def counted(seconds, conn, query, ids):
        asked.append(len(ids))
        return await within(seconds, conn, query, ids)

    monkeypatch.setattr(listening, "_within", counted)
    with contextlib.ExitStack() as stack:
        changes = ChangeListener(database_url, recheck=LONG)
        ids = [uuid.uuid4() for _ in range(waiters)]
        watches = [stack.enter_context(changes.subscribe(upload_id)) for upload_id in ids]
        await set_version(database_url, ids[-1], 3)
        running = asyncio.create_task(changes.run())
        assert await watches[-1].wait_beyond(2, 20)
        assert asked == [waiters]
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
