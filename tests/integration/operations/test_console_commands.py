"""The other commands of operators: lists, timelines, rebuilds, and what is said where something is missing."""

from uuid import uuid4

import psycopg
import pytest
from psycopg.sql import SQL

from contracts.events import Stage, Status
from shared.operations.runs import RunFilter, page_of
from tests.integration.operations.darkroom import darkroom
from tests.integration.operations.failed_runs import LONG_AGO, failed_run, store_runs


async def test_runs_are_listed_by_filter_the_latest_first(database_url):
    runs = [failed_run(n, at=at) for n, at in enumerate([Stage.STORING, Stage.GENERATING, Stage.STORING])]
    ids = [str(upload_id) for upload_id in store_runs(database_url, [*runs, failed_run(9)[:2]])]
    env = {"DATABASE_URL": database_url}
    every = await darkroom("runs", "list", env=env)
    stored = await darkroom("runs", "list", "--status", "failed", "--stage", "storing", "--limit", 1, env=env)
    late = await darkroom("runs", "list", "--since", "2h", env=env)
    wrong = await darkroom("runs", "list", "--status", "gone", env=env)
    assert every.status == 0, every
    positions = [every.out.index(upload_id) for upload_id in ids]
    assert positions == sorted(positions, reverse=True)
    assert [upload_id in stored.out for upload_id in ids] == [False, False, True, False]
    assert not any(upload_id in late.out for upload_id in ids)
    assert (wrong.status, "failed" in wrong.err) == (2, True)


async def test_a_runs_events_are_shown_by_either_id_without_the_e_mail(database_url):
    run = failed_run()
    [upload_id] = store_runs(database_url, [run])
    env = {"DATABASE_URL": database_url}
    by_upload = await darkroom("runs", "show", upload_id, env=env)
    by_run = await darkroom("runs", "show", run[1].workflow_run_id, env=env)
    unknown = await darkroom("runs", "show", uuid4(), env=env)
    assert by_upload.out == by_run.out
    for event in run:
        assert type(event).__name__ in by_run.out
    assert "ann@" not in by_run.out
    assert (unknown.status, "there is no run or upload" in unknown.err) == (1, True)


async def test_a_rebuild_is_noted_with_its_reason(database_url):
    store_runs(database_url, [failed_run(), failed_run()])
    env = {"DATABASE_URL": database_url}
    with psycopg.connect(database_url) as conn:
        conn.execute("UPDATE uploads SET stage = 'complete' WHERE id = (SELECT id FROM uploads LIMIT 1)")
    said = await darkroom("projection", "rebuild", "--reason", "a bug", "--by", "ann", env=env)
    log = await darkroom("audit", "list", env=env)
    assert (said.status, "1 rows differed" in said.out) == (0, True), said
    for words in ("ann", "projection.rebuild", "a bug", '"different":1'):
        assert words in log.out


async def test_what_is_missing_is_said_in_one_line(empty_database_url, tmp_path):
    unset = await darkroom("runs", "list", env={}, cwd=tmp_path)
    away = await darkroom("runs", "list", env={"DATABASE_URL": "postgresql://nobody@127.0.0.1:1/none"})
    behind = await darkroom("runs", "list", env={"DATABASE_URL": empty_database_url})
    assert (unset.status, "DATABASE_URL is not set" in unset.err) == (2, True), unset
    assert (away.status, "the database does not answer" in away.err, "Traceback" in away.err) == (1, True, False), away
    assert (behind.status, "run `darkroom migrate`" in behind.err) == (1, True), behind


async def test_every_command_explains_itself():
    for command in ("", "replay", "replay start", "replay show", "runs list", "dead-letters purge", "audit", "erase"):
        said = await darkroom(*command.split(), "--help", env={})
        assert (said.status, "Usage:" in said.out) == (0, True), said
    top = await darkroom("--help", env={})
    for name in ("serve", "dev", "process", "replay", "dead-letters", "audit", "erase", "projection", "runs"):
        assert name in top.out


@pytest.mark.parametrize(
    ("wanted", "index"),
    [
        (RunFilter(), "uploads_created_at_id_idx"),
        (RunFilter(status=Status.FAILED), "uploads_failed_at_id_idx"),
        (RunFilter(code="STORAGE_UNAVAILABLE"), "uploads_failed_at_id_idx"),
    ],
)
async def test_a_page_of_runs_is_read_off_an_index_without_sorting(database_url, wanted, index):
    store_runs(database_url, [failed_run(n) for n in range(2_000)])
    query, values = page_of(wanted, limit=10, after=(LONG_AGO, uuid4()))
    with psycopg.connect(database_url) as conn:
        conn.execute("ANALYZE uploads")
        plan = "\n".join(row[0] for row in conn.execute(SQL("EXPLAIN ") + query, values))
    assert index in plan
    assert "Sort" not in plan
