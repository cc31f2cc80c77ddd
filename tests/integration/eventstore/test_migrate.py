"""Migrations: once, however many apply them, and whatever became of the one before."""

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest

from shared.database import locks
from shared.database.migrate import migrate, pending
from shared.eventstore.application import UploadsApplication
from shared.projection.uploads import changes_of
from tests.builders import A_WHOLE_RUN, a_stream
from tests.integration.eventstore.opened import asked
from tests.stack import eventually

ROOT = Path(__file__).parents[3]
MIGRATIONS = sorted(path.stem for path in (ROOT / "shared/database/migrations").glob("*.sql"))
MIGRATE = "import os; from shared.database.migrate import migrate; print(migrate(os.environ['DATABASE_URL']))"
SLOW = """
CREATE FUNCTION wait() RETURNS event_trigger LANGUAGE plpgsql AS $$BEGIN PERFORM pg_sleep(600); END$$;
CREATE EVENT TRIGGER slow ON ddl_command_start WHEN TAG IN ('CREATE INDEX') EXECUTE FUNCTION wait();
"""


def started(database_url):
    return subprocess.Popen(
        [sys.executable, "-c", MIGRATE],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "DATABASE_URL": database_url},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def tables(database_url):
    query = "SELECT tablename FROM pg_tables WHERE schemaname = 'public' AND tablename NOT LIKE '%yoyo%'"
    return {name for (name,) in asked(database_url, query)}


def test_an_empty_database_gets_everything_in_order(empty_database_url):
    assert pending(empty_database_url) == MIGRATIONS

    assert migrate(empty_database_url) == MIGRATIONS

    assert pending(empty_database_url) == []
    assert {"upload_events", "uploads", "outbox"} <= tables(empty_database_url)


def test_the_second_time_there_is_nothing_to_do(empty_database_url):
    migrate(empty_database_url)

    assert migrate(empty_database_url) == []


async def test_of_several_at_once_each_migration_is_applied_by_one(empty_database_url):
    applied = await asyncio.gather(*(asyncio.to_thread(migrate, empty_database_url) for _ in range(6)))

    assert sorted(name for each in applied for name in each) == MIGRATIONS


def test_several_processes_at_once_all_succeed(empty_database_url):
    processes = [started(empty_database_url) for _ in range(3)]

    ends = [process.communicate(timeout=60) for process in processes]

    assert [process.returncode for process in processes] == [0, 0, 0], ends
    assert pending(empty_database_url) == []


def test_a_migration_waits_for_a_rebuild_which_would_swap_in_a_table_of_the_old_shape(empty_database_url):
    with psycopg.connect(empty_database_url, autocommit=True) as rebuilding:
        rebuilding.execute("SELECT pg_advisory_lock(%s)", (locks.REBUILD,))
        migrating = started(empty_database_url)
        waits = "SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
        eventually(lambda: asked(empty_database_url, waits) != [], within=30)
        assert pending(empty_database_url) == MIGRATIONS
    assert migrating.wait(timeout=60) == 0
    migrating.communicate()
    assert pending(empty_database_url) == []


def test_a_run_that_was_killed_half_way_is_finished_by_the_next(empty_database_url):
    asked(empty_database_url, SLOW)
    killed = started(empty_database_url)
    asleep = "SELECT 1 FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND datname = current_database()"
    eventually(lambda: asked(empty_database_url, asleep) != [], within=30)
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    asked(empty_database_url, "DROP EVENT TRIGGER slow")

    # What the dead one had under way: the server notices at the next word it wants to say, which may be never.
    asked(
        empty_database_url,
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE wait_event = 'PgSleep' AND datname = current_database()",
    )
    migrate(empty_database_url)

    assert pending(empty_database_url) == []
    assert {"upload_events", "uploads", "outbox"} <= tables(empty_database_url)


def test_a_migration_that_fails_leaves_nothing_of_itself(empty_database_url):
    asked(empty_database_url, "CREATE TABLE outbox (mine int)")
    with pytest.raises(psycopg.errors.DuplicateTable):
        migrate(empty_database_url)
    assert tables(empty_database_url) == {"outbox"}

    asked(empty_database_url, "DROP TABLE outbox")

    assert migrate(empty_database_url) == MIGRATIONS


def test_a_password_of_any_characters_and_a_name_with_a_hyphen_work(postgres, empty_database_url):
    if not postgres.is_ours:
        pytest.skip("the server is not ours to create users on")
    asked(empty_database_url, "CREATE ROLE \"dark-room\" SUPERUSER LOGIN PASSWORD 'p@ss/w:rd#%?&'")
    try:
        url = _as(empty_database_url, "dark-room", "p%40ss%2Fw%3Ard%23%25%3F%26")
        assert migrate(url) == MIGRATIONS
        application = UploadsApplication(url)
        stream = a_stream(*A_WHOLE_RUN)
        application.record(stream, changes=[changes_of(stream)])
        application.close()
    finally:
        asked(empty_database_url, 'REASSIGN OWNED BY "dark-room" TO postgres')
        asked(empty_database_url, 'DROP OWNED BY "dark-room"')
        asked(empty_database_url, 'DROP ROLE "dark-room"')


def _as(url, user, password):
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{user}:{password}@{rest.rpartition('@')[2]}"


def test_an_upload_registered_before_its_announcement_went_with_it_leaves_its_email_only_in_its_stream(
    empty_database_url,
):
    folder = ROOT / "shared/database/migrations"
    registered, announced, erased = uuid4(), uuid4(), uuid4()
    with psycopg.connect(empty_database_url, autocommit=True) as conn:
        for name in MIGRATIONS[: MIGRATIONS.index("0007_object_cleanups_and_retention")]:
            conn.execute((folder / f"{name}.sql").read_text())
        for each in (registered, announced):
            conn.execute(
                "INSERT INTO pending_uploads"
                " VALUES (%s, 'ann@example.com', 'd', 'image/png', 1, now() + interval '1 hour')",
                (each,),
            )
        for each, email in ((registered, "ann@example.com"), (erased, "")):
            conn.execute(
                "INSERT INTO uploads (id, email, progress, version, updated_at) VALUES (%s, %s, 0, 1, now())",
                (each, email),
            )

        conn.execute((folder / "0007_object_cleanups_and_retention.sql").read_text())

        assert conn.execute("SELECT id FROM pending_uploads").fetchall() == [(announced,)]
        looked_at = "SELECT upload_id, due_at > now() + interval '1 hour' FROM object_cleanups"
        assert conn.execute(looked_at).fetchall() == [(registered, True)]
        kept = "SELECT upload_id, started, since > now() - interval '1 minute' FROM kept_uploads"
        assert conn.execute(kept).fetchall() == [(registered, False, True)]
