"""The outbox as a road and as a clock: nothing that was committed is forgotten, nothing is early, nothing is silent."""

import asyncio
import contextlib
import datetime as dt
from unittest.mock import AsyncMock
from uuid import uuid4

import psycopg
import pytest
from msgspec.structs import replace

from contracts.events import (
    GenerationStarted,
    ImageValidated,
    ProcessingCompleted,
    ProcessingFailed,
    ProcessingRequested,
    ReplayRequested,
    StageAttemptFailed,
    UploadRegistered,
)
from shared.clock import utc_now
from shared.database.migrate import migrate
from shared.eventstore.outbox import CLAIM, EXCHANGE, RUN_CHECK
from shared.messaging.message import TransportDownError, UnroutableError
from shared.stages import outbox_dispatcher as dispatcher
from shared.stages.outbox_dispatcher import Dispatcher
from shared.upload.saga import RUN_CHECK_INTERVAL
from tests.builders import A_WHOLE_RUN, a_run_up_to, a_stream, an_event
from tests.integration.eventstore.opened import asked, counted, opened, stored
from tests.integration.messaging.road import Road
from tests.waiting import until

HOUR = dt.timedelta(hours=1)
ROWS = "SELECT target FROM outbox ORDER BY target"


def a_live_run(*more, deadline=HOUR, ago=dt.timedelta(0)):
    """Return a run that began some time ago, and whose deadline is an hour from now."""
    now = utc_now()
    requested = an_event(ProcessingRequested, deadline_at=now + deadline)
    stream = a_stream(UploadRegistered, requested, *more, upload_id=uuid4())

    return [replace(event, occurred_at=now - ago) for event in stream]


async def swept(parts, road):
    """Have a dispatcher sweep once, and wait for what it set going."""
    sweeper = Dispatcher(parts.sweep, parts.store, road)
    claimed = await sweeper.sweep_once()
    await asyncio.gather(*sweeper._under_way)
    return claimed


def due_now(database_url, target=None):
    """Have rows due at once, as if their time had come."""
    where = "" if target is None else f" WHERE target = '{target}'"
    asked(database_url, f"UPDATE outbox SET available_at = now() - interval '1 second'{where}")  # noqa: S608 — own words


async def test_what_a_crash_left_between_commit_and_publish_is_published(database_url):
    stream, road = a_live_run(), Road()
    async with opened(database_url) as parts:
        await parts.append(*stream)
        due_now(database_url, EXCHANGE)

        await swept(parts, road)

        assert [(row.event, row.target) for row in road.sent] == [(stream[1], EXCHANGE)]
        assert asked(database_url, ROWS) == [(RUN_CHECK,)]


async def test_a_row_belongs_to_the_process_that_committed_it_for_a_while(database_url):
    road = Road()
    async with opened(database_url) as parts:
        await parts.append(*a_live_run())

        assert await swept(parts, road) == 0


async def test_cause_and_trace_travel_with_the_row(database_url):
    async with opened(database_url) as parts:
        await parts.store.append(
            *a_stream(*A_WHOLE_RUN[:3]), causation_id="cause", traceparent="00-" + "1" * 32 + "-" + "2" * 16 + "-01"
        )

        rows = await parts.sweep.claim(9)

    assert {row.causation_id for row in rows} == {"cause"}
    assert {row.traceparent[:35] for row in rows} == {"00-" + "1" * 32}


async def test_no_row_is_claimed_by_two_dispatchers(database_url):
    async with opened(database_url) as one, opened(database_url) as two:
        for _ in range(40):
            await one.append(*a_run_up_to(ProcessingRequested, upload_id=uuid4()))

        claims = await asyncio.gather(*(parts.sweep.claim(7) for parts in (one, two) for _ in range(8)))

        keys = [row.key for rows in claims for row in rows]
        assert len(keys) == len(set(keys)) == 80


async def test_a_claim_takes_what_it_may_also_after_many_that_found_nothing(database_url):
    streams = [a_live_run() for _ in range(300)]
    async with opened(database_url) as parts:
        await asyncio.gather(*(parts.append(*stream) for stream in streams))
        asked(database_url, "TRUNCATE outbox")
        with psycopg.connect(database_url, autocommit=True) as conn:
            conn.execute("VACUUM (ANALYZE)")
        for _ in range(20):
            assert await parts.sweep.claim(7) == []
        ids = [stream[0].upload_id for stream in streams[:30]]
        asked(database_url, "INSERT INTO outbox SELECT unnest(%s::uuid[]), 2, '', now()", ids)

        assert [len(await parts.sweep.claim(7)) for _ in range(6)] == [7, 7, 7, 7, 2, 0]


async def test_a_row_that_cannot_be_read_is_left_and_does_not_hold_up_the_others(database_url):
    """A newer release, beside this one during a rollout, may have written it."""
    strange, known = a_live_run(), a_live_run()
    async with opened(database_url) as parts:
        for stream in (strange, known):
            await parts.append(*stream)
        unknown = 'UPDATE upload_events SET state = \'{"type": "FromTheFuture"}\' WHERE originator_id = %s'
        asked(database_url, unknown, strange[0].upload_id)
        due_now(database_url, EXCHANGE)

        rows = await parts.sweep.claim(9)

        assert [row.event for row in rows] == [known[1]]
        assert asked(database_url, "SELECT count(*) FROM outbox WHERE target = ''") == [(2,)]


async def test_a_claimed_row_is_not_due_again_before_its_claim_runs_out_and_is_due_then(database_url):
    async with opened(database_url) as parts:
        await parts.append(*a_run_up_to(ProcessingRequested))
        first = await parts.sweep.claim(9)

        assert await parts.sweep.claim(9) == []
        (left,) = asked(database_url, "SELECT extract(epoch FROM min(available_at) - now())::float8 FROM outbox")
        assert 0 < left[0] <= CLAIM.total_seconds()

        due_now(database_url)
        assert sorted(row.key for row in await parts.sweep.claim(9)) == sorted(row.key for row in first)


async def test_a_row_that_another_holds_is_left_to_it(database_url):
    async with opened(database_url) as parts:
        await parts.append(*a_run_up_to(ProcessingRequested))
        with psycopg.connect(database_url) as other:
            other.execute("SELECT 1 FROM outbox FOR UPDATE")

            assert await asyncio.wait_for(parts.sweep.claim(9), 5) == []


async def test_rows_that_are_done_with_side_by_side_are_removed_together(database_url, monkeypatch):
    async with opened(database_url) as parts:
        for _ in range(20):
            await parts.append(*a_live_run())
        due_now(database_url, EXCHANGE)
        settled, remove_published = [], parts.sweep.remove_published

        async def counting(keys):
            settled.append(len(keys))
            await remove_published(keys)

        monkeypatch.setattr(parts.sweep, "remove_published", counting)

        assert await swept(parts, Road()) == 20

    assert asked(database_url, "SELECT count(*) FROM outbox WHERE target = ''") == [(0,)]
    assert sum(settled) == 20
    assert len(settled) <= 2


async def test_rows_that_cannot_be_removed_together_are_handed_on_again(database_url, monkeypatch):
    road = Road()
    async with opened(database_url) as parts:
        for _ in range(5):
            await parts.append(*a_live_run())
        due_now(database_url, EXCHANGE)
        with monkeypatch.context() as broken:
            broken.setattr(parts.sweep, "remove_published", AsyncMock(side_effect=psycopg.OperationalError))
            await swept(parts, road)
        due_now(database_url, EXCHANGE)

        await swept(parts, road)

    assert len(road.sent) == 10
    assert asked(database_url, "SELECT count(*) FROM outbox WHERE target = ''") == [(0,)]


async def test_no_more_rows_are_claimed_at_once_while_many_are_on_their_way(database_url, monkeypatch):
    monkeypatch.setattr(dispatcher, "BATCH", 2)
    monkeypatch.setattr(dispatcher, "MAX_IN_FLIGHT", 6)
    monkeypatch.setattr(dispatcher, "POLL", 30)
    gone = asyncio.Event()

    class Blocked(Road):
        async def send(self, row):
            await super().send(row)
            await gone.wait()

    road = Blocked()
    async with opened(database_url) as parts:
        for _ in range(10):
            await parts.append(*a_live_run())
        due_now(database_url, EXCHANGE)
        dispatching = asyncio.create_task(Dispatcher(parts.sweep, parts.store, road).run())
        await until(lambda: len(road.sent) == 6)
        await asyncio.sleep(0.2)
        held = len(road.sent)

        gone.set()
        await until(lambda: len(road.sent) == 10)

        dispatching.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await dispatching

    assert held == 6


async def test_the_oldest_rows_come_first(database_url):
    async with opened(database_url) as parts:
        for _ in range(5):
            await parts.append(*a_run_up_to(ProcessingRequested, upload_id=uuid4()))
        asked(database_url, "UPDATE outbox SET available_at = now() - random() * interval '1 hour'")
        order = [key for (key,) in asked(database_url, "SELECT upload_id || target FROM outbox ORDER BY available_at")]

        claimed = [row for _ in range(10) for row in await parts.sweep.claim(1)]

        assert [str(row.event.upload_id) + row.target for row in claimed] == order


async def test_a_retry_is_not_handed_on_before_its_time_and_goes_to_its_stage_alone_then(database_url):
    failed = an_event(StageAttemptFailed, retry_at=utc_now() + HOUR)
    road = Road()
    async with opened(database_url) as parts:
        await parts.append(*a_live_run(failed))
        due_now(database_url, RUN_CHECK)
        due_now(database_url, EXCHANGE)
        await swept(parts, road)
        early = [row.target for row in road.sent]
        due_now(database_url, "validator")
        await swept(parts, road)

    assert early == [EXCHANGE]
    assert [(row.target, type(row.event)) for row in road.sent[1:]] == [("validator", StageAttemptFailed)]


async def test_a_replay_goes_to_its_stage_alone(database_url):
    failed, again = an_event(ProcessingFailed), an_event(ReplayRequested, attempt=2)
    async with opened(database_url) as parts:
        for event in a_stream(*A_WHOLE_RUN[:2], failed, again):
            await parts.append(event)

        targets = {(row.target, row.event.version) for row in await parts.sweep.claim(9)}

    assert targets == {(EXCHANGE, 2), (EXCHANGE, 3), ("validator", 4), (RUN_CHECK, 4)}


async def test_while_the_broker_is_away_rows_stay_due_and_runs_are_still_looked_after(database_url):
    road = Road(up=False)
    async with opened(database_url) as parts:
        await parts.append(*a_live_run())
        due_now(database_url)

        assert await swept(parts, road) == 1
        assert road.sent == []
        assert asked(database_url, "SELECT target FROM outbox WHERE available_at <= now()") == [(EXCHANGE,)]


@pytest.mark.parametrize("error", [TransportDownError(), UnroutableError(), KeyError("a bug")], ids=repr)
async def test_a_row_that_could_not_be_handed_on_stays_and_is_due_again(database_url, error):
    async with opened(database_url) as parts:
        await parts.append(*a_run_up_to(ProcessingRequested))
        await parts.sweep.remove_published([(a_run_up_to(ProcessingRequested)[1].upload_id, 2, RUN_CHECK)])

        await swept(parts, Road(error=error))

        assert asked(database_url, "SELECT target FROM outbox WHERE available_at < now() + interval '31 seconds'") == [
            (EXCHANGE,)
        ]


async def test_a_run_past_its_deadline_ends_with_a_reason_and_is_watched_no_more(database_url):
    async with opened(database_url) as parts:
        await parts.append(*a_live_run(deadline=-HOUR))
        due_now(database_url, RUN_CHECK)

        await swept(parts, Road())

    last = stored(database_url)[-1]
    assert (type(last), last.code, last.retryable) == (ProcessingFailed, "TIMED_OUT", True)
    assert (RUN_CHECK,) not in asked(database_url, ROWS)
    assert asked(database_url, "SELECT status FROM uploads") == [("failed",)]


async def test_two_dispatchers_that_see_the_same_deadline_end_the_run_once(database_url):
    async with opened(database_url) as one, opened(database_url) as two:
        await one.append(*a_live_run(deadline=-HOUR))
        due_now(database_url, RUN_CHECK)
        (row,) = await one.sweep.claim(9)
        sweepers = [Dispatcher(parts.sweep, parts.store, Road()) for parts in (one, two)]

        await asyncio.gather(*(sweeper._dispatch(row) for sweeper in sweepers))

    assert sum(isinstance(event, ProcessingFailed) for event in stored(database_url)) == 1


async def test_a_stage_that_went_silent_is_woken_with_what_it_works_from(database_url):
    road = Road()
    async with opened(database_url) as parts:
        stream = a_live_run(ImageValidated, ago=dt.timedelta(minutes=20))
        await parts.append(*stream)
        await parts.sweep.remove_published([(stream[0].upload_id, version, EXCHANGE) for version in (2, 3)])
        due_now(database_url, RUN_CHECK)

        await swept(parts, road)

        assert [(row.event, row.target) for row in road.sent] == [(stream[2], "generator")]
        assert asked(database_url, ROWS) == [(RUN_CHECK,)]


async def test_a_generation_whose_worker_died_is_woken_when_its_lease_has_ended_and_not_before(database_url):
    for ended in (False, True):
        lease = an_event(GenerationStarted, lease_until=utc_now() + (-HOUR if ended else HOUR) / 60)
        road = Road()
        async with opened(database_url) as parts:
            stream = a_live_run(ImageValidated, lease)
            await parts.append(*stream)
            due_now(database_url, RUN_CHECK)

            await swept(parts, road)

            assert [row.target for row in road.sent] == (["generator"] if ended else [])
            asked(database_url, "DELETE FROM outbox")


async def test_a_run_that_makes_progress_is_looked_at_again_soon_and_not_disturbed(database_url):
    road = Road()
    async with opened(database_url) as parts:
        await parts.append(*a_live_run())
        due_now(database_url, RUN_CHECK)

        await swept(parts, road)

    assert road.sent == []
    (left,) = asked(
        database_url, "SELECT extract(epoch FROM available_at - now())::float8 FROM outbox WHERE target = 'watch'"
    )
    assert 0 < left[0] <= RUN_CHECK_INTERVAL.total_seconds()


@pytest.mark.parametrize("kind", [ProcessingCompleted, ProcessingFailed])
async def test_the_watch_goes_with_the_run(database_url, kind):
    stream = a_run_up_to(ProcessingCompleted) if kind is ProcessingCompleted else a_stream(*A_WHOLE_RUN[:2], kind)
    async with opened(database_url) as parts:
        for event in stream:
            await parts.append(event)

        assert (RUN_CHECK,) not in asked(database_url, ROWS)


async def test_a_watch_that_outlived_its_run_is_removed(database_url):
    async with opened(database_url) as parts:
        stream = a_run_up_to(ProcessingCompleted)
        for event in stream:
            await parts.append(event)
        asked(database_url, "INSERT INTO outbox VALUES (%s, 2, 'watch', now() - interval '1 s')", stream[0].upload_id)

        await swept(parts, Road())

        assert (RUN_CHECK,) not in asked(database_url, ROWS)


async def test_a_watch_is_brought_forward_but_never_put_off(database_url):
    soon, later = utc_now() + dt.timedelta(seconds=2), utc_now() + HOUR
    async with opened(database_url) as parts:
        stream = a_live_run()
        await parts.append(*stream)

        for by in (soon, later):
            await parts.store.bring_check_forward(stream[0].upload_id, by=by)

        assert asked(database_url, "SELECT available_at FROM outbox WHERE target = 'watch'") == [(soon,)]


async def test_a_dispatcher_goes_on_after_an_outage_of_the_database(breakable_postgres):
    url = breakable_postgres.create_database()
    migrate(url)
    road = Road()
    async with opened(url) as parts:
        dispatching = asyncio.create_task(Dispatcher(parts.sweep, parts.store, road).run())
        await parts.append(*a_run_up_to(ProcessingRequested, upload_id=uuid4()))
        await until(lambda: road.sent)
        breakable_postgres.restart()

        await parts.append(*a_run_up_to(ProcessingRequested, upload_id=uuid4()))
        await until(lambda: len({row.event.upload_id for row in road.sent}) == 2, within=30)

        dispatching.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await dispatching


async def test_depth_counts_what_is_overdue_and_how_late_it_is(database_url):
    async with opened(database_url) as parts:
        assert await parts.sweep.depth() == (0, 0.0)
        await parts.append(*a_live_run())
        asked(database_url, "UPDATE outbox SET available_at = now() - interval '1 minute' WHERE target = ''")

        number, late = await parts.sweep.depth()

    assert number == 1
    assert 60 <= late < 120


async def test_only_rows_of_events_that_somebody_wants_are_written(database_url):
    async with opened(database_url) as parts:
        for event in a_run_up_to(ProcessingCompleted):
            await parts.append(event)

    rows = asked(database_url, "SELECT version FROM outbox WHERE target = '' ORDER BY version")
    # Not the registration (1), the claim of a call (4) and the watermark (7): no queue wants those.
    assert rows == [(2,), (3,), (5,), (6,), (8,)]
    assert counted(database_url)["outbox"] == 5
