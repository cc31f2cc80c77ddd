"""One transaction for many appends: what shares it, what fails alone, and what a lost connection leaves behind."""

import asyncio
import datetime as dt
from uuid import uuid4

import psycopg
import pytest
from eventsourcing.persistence import IntegrityError, PersistenceError

from contracts.events import ImageGenerated, ImageValidated, ProcessingFailed, ProcessingRequested, UploadRegistered
from shared.database.migrate import migrate
from shared.eventstore.group_commit import ConflictError, GroupCommit, StoreUnavailableError
from tests.builders import A_WHOLE_RUN, a_run_up_to, a_stream, an_event
from tests.integration.eventstore.opened import asked, counted, opened, stored
from tests.waiting import until

NUL = "\x00"


async def outcomes(*appends):
    """Return what each append ended in: None, or the type of its error."""
    ends = await asyncio.gather(*appends, return_exceptions=True)
    return [None if end is None else type(end) for end in ends]


async def test_events_read_model_and_outbox_are_there_once_an_append_returns(database_url):
    stream = a_run_up_to(ProcessingRequested)
    async with opened(database_url) as parts:
        await parts.append(*stream)

        assert stored(database_url) == stream
        assert asked(database_url, "SELECT status, stage, version FROM uploads") == [("processing", "validating", 2)]
        assert asked(database_url, "SELECT version, target FROM outbox ORDER BY target") == [(2, ""), (2, "watch")]


async def test_a_writer_that_dies_of_what_nobody_foresaw_is_seen_to_die():
    """Whoever runs the process watches its task: appends would wait for ever, and every probe say that all is well."""

    class Broken:
        def record(self, *_, **__):
            raise IntegrityError

        def states(self, _):
            raise PersistenceError("unforeseen")

    commits = GroupCommit(Broken(), on_committed=lambda _: None)
    writing = commits.start()
    append = asyncio.create_task(commits.append(a_stream(UploadRegistered), []))

    with pytest.raises(PersistenceError, match="unforeseen"):
        await asyncio.wait_for(writing, 5)
    append.cancel()
    await asyncio.wait_for(commits.close(), 5)


async def test_what_is_due_now_is_handed_on_and_what_is_due_later_is_not(database_url):
    async with opened(database_url) as parts:
        await parts.append(*a_run_up_to(ProcessingRequested))

        assert [(row.event.version, row.target) for row in parts.handed_on] == [(2, "")]


async def test_appends_that_wait_together_share_a_transaction(database_url):
    async with opened(database_url) as parts:
        await parts.append(a_stream(UploadRegistered, upload_id=uuid4())[0])
        await outcomes(*(parts.append(a_stream(UploadRegistered, upload_id=uuid4())[0]) for _ in range(40)))

        assert asked(database_url, "SELECT count(DISTINCT xmin::text) FROM upload_events")[0][0] <= 3
        assert counted(database_url)["uploads"] == 41


async def test_a_group_is_no_larger_than_was_said(database_url):
    async with opened(database_url, max_group=4) as parts:
        await outcomes(*(parts.append(a_stream(UploadRegistered, upload_id=uuid4())[0]) for _ in range(20)))

        sizes = asked(database_url, "SELECT count(*) FROM upload_events GROUP BY xmin::text")
        assert max(size for (size,) in sizes) <= 4


async def test_a_conflict_costs_the_one_that_conflicts_and_no_other(database_url):
    taken = [a_run_up_to(ProcessingRequested, upload_id=uuid4()) for _ in range(3)]
    free = [a_run_up_to(ProcessingRequested, upload_id=uuid4()) for _ in range(20)]
    async with opened(database_url) as first:
        await outcomes(*(first.append(*stream) for stream in taken), *(first.append(stream[0]) for stream in free))
    late = [an_event(ProcessingRequested, upload_id=s[0].upload_id, version=2, workflow_run_id=uuid4()) for s in taken]
    async with opened(database_url) as second:
        ends = await outcomes(*(second.append(e) for e in late), *(second.append(s[1]) for s in free))

    assert ends == [ConflictError] * 3 + [None] * 20
    assert len(stored(database_url)) == 46


async def test_of_fifty_rivals_over_one_upload_exactly_one_wins(database_url):
    registered = a_stream(UploadRegistered)[0]
    async with opened(database_url) as parts, opened(database_url) as others:
        await parts.append(registered)
        rivals = [an_event(ProcessingRequested, version=2, workflow_run_id=uuid4()) for _ in range(50)]
        ends = await outcomes(*((parts, others)[n % 2].append(rival) for n, rival in enumerate(rivals)))

        assert sorted(end is None for end in ends) == [False] * 49 + [True]
        assert {end for end in ends if end} == {ConflictError}
        assert stored(database_url) == [registered, rivals[ends.index(None)]]
        assert len(parts.handed_on) + len(others.handed_on) == 1


async def test_the_row_belongs_to_the_winner(database_url):
    async with opened(database_url) as parts:
        await parts.append(a_stream(UploadRegistered)[0])
        rivals = [an_event(ProcessingRequested, version=2, workflow_run_id=uuid4()) for _ in range(5)]
        ends = await outcomes(*(parts.append(rival) for rival in rivals))

        winner = rivals[ends.index(None)].workflow_run_id
        assert asked(database_url, "SELECT workflow_run_id, version FROM uploads") == [(winner, 2)]


async def test_a_row_that_postgres_refuses_fails_alone(database_url):
    streams = [a_run_up_to(ProcessingRequested, upload_id=uuid4()) for _ in range(10)]
    broken = an_event(ProcessingFailed, upload_id=streams[4][0].upload_id, version=3, message=f"It is{NUL} broken.")
    fine = [an_event(ImageValidated, upload_id=stream[0].upload_id, version=3) for stream in streams]
    async with opened(database_url) as parts:
        await outcomes(*(parts.append(*stream) for stream in streams))
        ends = await outcomes(*(parts.append(broken if n == 4 else event) for n, event in enumerate(fine)))

        assert issubclass(ends[4], PersistenceError)
        assert [end for n, end in enumerate(ends) if n != 4] == [None] * 9
        assert counted(database_url) == {"upload_events": 29, "uploads": 10, "outbox": 20 + 9}


async def test_after_a_refusal_the_writer_goes_on(database_url):
    async with opened(database_url) as parts:
        with pytest.raises(PersistenceError):
            await parts.append(an_event(UploadRegistered, upload_id=uuid4(), email=f"ann{NUL}@example.com"))

        await parts.append(an_event(UploadRegistered))

        assert counted(database_url)["upload_events"] == 1


@pytest.mark.parametrize("table", ["uploads", "outbox", "upload_events"])
async def test_where_one_of_the_three_statements_fails_nothing_of_the_append_is_there(database_url, table):
    with psycopg.connect(database_url) as conn:
        conn.execute("CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RAISE 'refused'; END$$")
        conn.execute(f"CREATE TRIGGER refuse BEFORE INSERT OR UPDATE ON {table} FOR EACH ROW EXECUTE FUNCTION refuse()")
    async with opened(database_url) as parts:
        with pytest.raises(PersistenceError):
            await parts.append(*a_run_up_to(ProcessingRequested))

        assert counted(database_url) == {"upload_events": 0, "uploads": 0, "outbox": 0}
        assert parts.handed_on == []


async def test_a_rule_of_the_database_that_is_broken_is_not_taken_for_a_conflict(database_url):
    asked(database_url, "ALTER TABLE uploads ADD CONSTRAINT short CHECK (length(email) < 9)")
    async with opened(database_url) as parts:
        with pytest.raises(PersistenceError):
            await parts.append(an_event(UploadRegistered))

        assert counted(database_url)["upload_events"] == 0


async def test_two_groups_over_the_same_uploads_never_deadlock(database_url):
    ids = [uuid4() for _ in range(60)]
    async with opened(database_url, max_group=30) as one, opened(database_url, max_group=30) as two:
        await outcomes(*(one.append(a_stream(UploadRegistered, upload_id=upload_id)[0]) for upload_id in ids))
        for version in range(2, 12):
            appends = []
            for parts, order in ((one, ids), (two, list(reversed(ids)))):
                for upload_id in order:
                    kind = ProcessingRequested if version == 2 else ProcessingFailed
                    event = an_event(kind, upload_id=upload_id, version=version, workflow_run_id=uuid4())
                    appends.append(parts.append(event))
            ends = await outcomes(*appends)
            assert ends.count(None) == 60
            assert set(ends) == {None, ConflictError}

    database = asked(database_url, "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")
    assert database == [(0,)]


async def test_a_rival_in_the_same_process_is_refused_without_asking_the_database(database_url):
    async with opened(database_url) as parts:
        ends = await outcomes(*(parts.append(an_event(UploadRegistered, email=f"{n}@x.org")) for n in range(30)))

        assert ends.count(ConflictError) == 29
        assert asked(database_url, "SELECT email FROM uploads") == [("0@x.org",)]


async def test_the_next_event_of_an_upload_may_wait_behind_the_one_before(database_url):
    stream = a_run_up_to(A_WHOLE_RUN[-1])
    async with opened(database_url) as parts:
        assert await outcomes(*(parts.append(event) for event in stream)) == [None] * len(stream)

        assert stored(database_url) == stream


async def test_events_that_do_not_follow_each_other_are_a_mistake_and_not_a_conflict(database_url):
    async with opened(database_url) as parts:
        with pytest.raises(ValueError, match="do not follow"):
            await parts.append(an_event(UploadRegistered), an_event(ProcessingRequested, version=1))


async def test_settled_rows_are_removed_even_if_no_append_comes(database_url):
    async with opened(database_url) as parts:
        await parts.append(*a_run_up_to(ProcessingRequested))
        parts.commits.remove_published([parts.handed_on[0].key])

        await until(lambda: counted(database_url)["outbox"] == 1)


async def test_a_commit_whose_answer_was_lost_is_neither_doubled_nor_taken_for_a_conflict(database_url):
    stream = a_run_up_to(ProcessingRequested)
    async with opened(database_url) as parts:
        await parts.append(an_event(UploadRegistered, upload_id=uuid4()))
        really_save, lost = parts.commits._save, []

        def save_and_lose_the_answer(group, settled):
            really_save(group, settled)
            if not lost:
                lost.append(True)
                raise psycopg_lost

        from eventsourcing.persistence import OperationalError  # noqa: PLC0415

        psycopg_lost = OperationalError("server closed the connection unexpectedly")
        parts.commits._save = save_and_lose_the_answer
        await parts.append(*stream)

        assert lost
        assert stored(database_url)[-2:] == stream or stored(database_url)[:2] == stream
        assert counted(database_url) == {"upload_events": 3, "uploads": 2, "outbox": 2}
        assert [row.event for row in parts.handed_on] == [stream[1]]


async def test_connections_killed_again_and_again_double_nothing_and_lose_nothing(database_url):
    kill = (
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid() AND query LIKE '%INSERT INTO uploads AS u%'"
    )
    ids = [uuid4() for _ in range(300)]
    killed = 0
    async with opened(database_url, max_group=5) as parts:
        for version, kind in enumerate(
            (UploadRegistered, ProcessingRequested, ImageValidated, ImageGenerated), start=1
        ):
            events = [an_event(kind, upload_id=upload_id, version=version) for upload_id in ids]
            ends = asyncio.gather(*(outcomes(parts.append(event, wait=None)) for event in events))
            await until(lambda v=version: asked(database_url, "SELECT 1 FROM uploads WHERE version = %s LIMIT 1", v))
            killed += asked(database_url, kill)[0][0]
            assert await ends == [[None]] * 300

    assert killed >= 3
    assert counted(database_url)["upload_events"] == 1200
    assert asked(database_url, "SELECT count(*) FROM uploads WHERE version = 4") == [(300,)]


async def test_what_nobody_waits_for_any_more_is_not_written_later(breakable_postgres):
    url = breakable_postgres.create_database()
    migrate(url)
    kept, given_up = a_stream(UploadRegistered, upload_id=uuid4())[0], a_stream(UploadRegistered, upload_id=uuid4())[0]
    async with opened(url) as parts:
        breakable_postgres.stop()
        with_deadline = asyncio.create_task(parts.append(kept, wait=None))
        with pytest.raises(StoreUnavailableError):
            await parts.append(given_up, wait=0.4)

        breakable_postgres.start()
        await asyncio.wait_for(with_deadline, 30)

        assert stored(url) == [kept]


async def test_closing_writes_what_waits(database_url):
    streams = [a_stream(UploadRegistered, upload_id=uuid4()) for _ in range(50)]
    async with opened(database_url, max_group=7) as parts:
        waiting = [asyncio.create_task(parts.append(*stream)) for stream in streams]
        await asyncio.sleep(0)
        await parts.commits.close()

        assert await outcomes(*waiting) == [None] * 50
        with pytest.raises(StoreUnavailableError):
            await parts.append(an_event(UploadRegistered))

    assert counted(database_url)["upload_events"] == 50


async def test_a_waiter_that_went_away_does_not_take_the_writer_with_it(database_url):
    async with opened(database_url) as parts:
        gone = asyncio.create_task(parts.append(an_event(UploadRegistered, upload_id=uuid4())))
        await asyncio.sleep(0)
        gone.cancel()
        with pytest.raises(asyncio.CancelledError):
            await gone

        await parts.append(an_event(UploadRegistered))

        assert counted(database_url)["uploads"] >= 1


async def test_an_instant_is_stored_to_the_microsecond(database_url):
    event = an_event(UploadRegistered, occurred_at=dt.datetime(2026, 1, 1, 0, 0, 0, 1, tzinfo=dt.UTC))
    async with opened(database_url) as parts:
        await parts.append(event)

        assert await parts.store.history(event.upload_id) == [event]
        assert asked(database_url, "SELECT updated_at FROM uploads") == [(event.occurred_at,)]


async def test_an_event_that_cannot_even_be_written_down_does_not_end_the_writer(database_url):
    async with opened(database_url) as parts:
        ends = await outcomes(
            parts.append(an_event(UploadRegistered, upload_id=uuid4(), email="\ud800@example.com")),
            parts.append(an_event(UploadRegistered)),
        )

        assert ends == [UnicodeEncodeError, None]
