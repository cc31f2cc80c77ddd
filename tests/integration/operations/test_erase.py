"""`darkroom erase` on an upload with all its pictures: nothing of the person is left, and the rows can be rebuilt."""

import asyncio
from pathlib import Path
from uuid import uuid4

import psycopg

from contracts.events import ProcessingCompleted, Stage, UploadErased
from shared.read_model.rebuild import rebuild
from tests.gemini_server import serving
from tests.integration.operations.darkroom import ACTOR, darkroom, product, put_pictures
from tests.integration.operations.failed_runs import Saga, embedded, failed_run, store_runs, until

WHY = ("--reason", "they asked", "--by", "ann")


def files(folder: Path, upload_id) -> set[Path]:
    """Name the files whose path names an upload."""
    return {path for path in (folder / "objects").rglob("*") if path.is_file() and str(upload_id) in str(path)}


async def test_nothing_of_the_person_is_left_and_a_rebuild_gives_the_same_rows(database_url, tmp_path):
    run, other = failed_run(at=Stage.STORING), failed_run(at=Stage.STORING)
    upload_id, other_id = store_runs(database_url, [run, other])
    env = {"DATABASE_URL": database_url, "OBJECT_STORE_URL": (tmp_path / "objects").as_uri()}
    async with serving() as gemini, product(database_url, tmp_path, gemini.url) as runtime:
        await put_pictures(runtime, run)
        await put_pictures(runtime, other)
        await darkroom("replay", upload_id, *WHY, env=env)

        async def completed():
            return isinstance((await runtime.store.history(upload_id))[-1], ProcessingCompleted)

        await until(completed)
        kept = files(tmp_path, other_id)
        assert files(tmp_path, upload_id)
        unsaid = await darkroom("erase", upload_id, *WHY, env=env)
        assert (unsaid.status, "--yes" in unsaid.err) == (2, True)
        said = await darkroom("erase", upload_id, "--yes", *WHY, env=env)
        assert said.status == 0, said
        history = await runtime.store.history(upload_id)
        again = await darkroom("erase", upload_id, "--yes", *WHY, env=env)
        assert again.status == 0, again
        assert await runtime.store.history(upload_id) == history
    assert "4 pictures deleted" in said.out
    assert files(tmp_path, upload_id) == set()
    assert files(tmp_path, other_id) == kept != set()
    assert isinstance(history[-1], UploadErased)
    assert (history[-1].requested_by, history[-1].reason) == (ACTOR, "they asked")
    with psycopg.connect(database_url) as conn:
        everything = "".join(
            str(conn.execute(f"SELECT * FROM {table} WHERE {key} = %s", (upload_id,)).fetchall())  # noqa: S608
            for table, key in (("uploads", "id"), ("upload_events", "originator_id"))
        )
        [(email,)] = conn.execute("SELECT email FROM uploads WHERE id = %s", (other_id,)).fetchall()
    for personal in ("ann@example.com", "d" * 64):
        assert personal not in everything
    assert email == "ann@example.com"
    assert (await asyncio.to_thread(rebuild, database_url)).different == 0


async def test_an_upload_whose_run_is_under_way_and_an_unknown_one_are_left_alone(database_url, tmp_path):
    [upload_id] = store_runs(database_url, [failed_run()[:2]])
    env = {"DATABASE_URL": database_url, "OBJECT_STORE_URL": (tmp_path / "objects").as_uri()}
    saga = Saga()
    async with embedded(database_url, tmp_path, saga) as context:
        before = await context.store.history(upload_id)
        going = await darkroom("erase", upload_id, "--yes", *WHY, env=env)
        unknown = await darkroom("erase", uuid4(), "--yes", *WHY, env=env)
        assert await context.store.history(upload_id) == before
        assert await context.audit_log.latest(10) == []
    assert (going.status, "is being processed" in going.err) == (1, True), going
    assert (unknown.status, "does not exist" in unknown.err) == (1, True), unknown


async def test_an_erased_upload_is_never_processed_again(database_url, tmp_path):
    ids = store_runs(database_url, [failed_run(), failed_run()[:1]])
    env = {"DATABASE_URL": database_url, "OBJECT_STORE_URL": (tmp_path / "objects").as_uri()}
    async with embedded(database_url, tmp_path, Saga()) as context:
        for upload_id in ids:
            assert (await darkroom("erase", upload_id, "--yes", *WHY, env=env)).status == 0
        replayed = await darkroom("replay", ids[0], *WHY, env=env)
        selected = await darkroom("replay", "--failed", *WHY, env=env)
        row = await context.uploads.get(ids[1])
        assert row is not None
        assert row.session_token_digest == ""
    assert (replayed.status, selected.status) == (1, 1)
