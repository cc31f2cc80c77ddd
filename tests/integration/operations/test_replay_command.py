"""`darkroom replay` as an operator runs it, on failed runs of the real stages; the AI provider counts its calls."""

import asyncio
import signal
from uuid import uuid4

import pytest

from contracts.events import ProcessingCompleted, Stage, Status
from contracts.ops import Tally
from tests.gemini_server import serving
from tests.integration.operations.darkroom import ACTOR, darkroom, product, put_pictures, start_darkroom
from tests.integration.operations.failed_runs import Saga, embedded, failed_run, replays, store_runs, until

WHY = ("--reason", "the store is back", "--by", "ann")


async def completed(runtime, upload_id):
    return (await runtime.store.load(upload_id)).status is Status.COMPLETED


async def count_rows(runtime, table):
    async with runtime.pool.connection() as conn:
        return (await (await conn.execute(f"SELECT count(*) FROM {table}")).fetchone())[0]  # noqa: S608


@pytest.mark.parametrize("stage", [Stage.STORING, Stage.WATERMARKING])
async def test_a_replay_after_the_picture_was_made_calls_no_provider(database_url, tmp_path, stage):
    run = failed_run(at=stage)
    [upload_id] = store_runs(database_url, [run])
    async with serving() as gemini, product(database_url, tmp_path, gemini.url) as runtime:
        await put_pictures(runtime, run)
        said = await darkroom("replay", upload_id, *WHY, env={"DATABASE_URL": database_url})
        assert said.status == 0, said
        await until(lambda: completed(runtime, upload_id))
        history = await runtime.store.history(upload_id)
        upload = await runtime.store.load(upload_id)
    assert gemini.begun == 0
    [replay] = replays(history)
    assert (replay.from_stage, replay.attempt, replay.requested_by, replay.reason) == (
        stage, 2, ACTOR, "the store is back",
    )  # fmt: skip
    assert {e.workflow_run_id for e in history[1:]} == {upload.workflow_run_id}
    assert isinstance(history[-1], ProcessingCompleted)
    assert f"goes on at {stage} as attempt 2" in said.out


async def test_a_replay_from_further_back_makes_what_follows_again(database_url, tmp_path):
    run = failed_run(at=Stage.STORING)
    [upload_id] = store_runs(database_url, [run])
    async with serving() as gemini, product(database_url, tmp_path, gemini.url) as runtime:
        await put_pictures(runtime, run)
        said = await darkroom(
            "replay", run[1].workflow_run_id, "--from-stage", "generating", *WHY, env={"DATABASE_URL": database_url}
        )
        assert said.status == 0, said
        await until(lambda: completed(runtime, upload_id))
    assert gemini.begun == 1


async def test_a_replay_that_is_refused_says_why_and_records_nothing(database_url, tmp_path):
    failed, fresh, going = failed_run(at=Stage.STORING), failed_run()[:1], failed_run()[:2]
    ids = store_runs(database_url, [failed, fresh, going])
    env = {"DATABASE_URL": database_url}
    unknown = uuid4()
    async with embedded(database_url, tmp_path, Saga()) as context:
        before = [await context.store.history(upload_id) for upload_id in ids]
        cases = [
            ((unknown, *WHY), 1, f"there is no run or upload {unknown}"),
            ((ids[1], *WHY), 1, "only a failed run can be replayed"),
            ((ids[2], *WHY), 1, "only a failed run can be replayed"),
            ((ids[0], ids[2], *WHY), 1, "nothing was replayed"),
            ((ids[0], "--from-stage", "watermarking", *WHY), 1, "it failed at storing, before watermarking"),
            ((ids[0],), 2, "--reason is needed"),
            ((ids[0], "--failed", *WHY), 2, "not both"),
            (WHY, 2, "name the runs"),
            (("not-an-id",), 2, "is not a valid UUID"),
            (("--failed", "--code", "NO_SUCH", *WHY), 1, "no failed run matches"),
            (("--failed", "--since", "yesterday", *WHY), 2, "'yesterday' is no time"),
        ]
        for arguments, status, words in cases:
            said = await darkroom("replay", *arguments, env=env)
            assert (said.status, words in said.err) == (status, True), (arguments, said)
        assert [await context.store.history(upload_id) for upload_id in ids] == before
        assert await context.audit_log.latest(10) == []
        assert await context.jobs.latest(10) == []


async def test_what_a_command_commits_is_due_at_once(database_url, tmp_path):
    [upload_id] = store_runs(database_url, [failed_run()])
    said = await darkroom("replay", upload_id, *WHY, env={"DATABASE_URL": database_url})
    assert said.status == 0, said
    async with embedded(database_url, tmp_path, saga := Saga()):
        await until(lambda: (Stage.STORING, upload_id) in saga.done, within=3)


async def test_a_dry_run_says_what_the_replay_then_does(database_url, tmp_path):
    env = {"DATABASE_URL": database_url, "PROVIDER_CALL_COST": "0.5"}
    runs = [failed_run(n, at=stage) for n, stage in enumerate([Stage.STORING] * 2 + [Stage.GENERATING] * 3)]
    ids = store_runs(database_url, runs)
    async with serving() as gemini, product(database_url, tmp_path, gemini.url) as runtime:
        for run in runs:
            await put_pictures(runtime, run)
        dry = await darkroom("replay", "--failed", "--dry-run", env=env)
        assert dry.status == 0, dry
        assert await count_rows(runtime, "replay_jobs") == await count_rows(runtime, "operator_actions") == 0
        assert {(await runtime.store.load(upload_id)).attempt for upload_id in ids} == {1}
        real = await darkroom("replay", "--failed", *WHY, env=env)
        assert real.status == 0, real
        listed = await darkroom("replay", "list", env=env)
        log = await darkroom("audit", "list", env=env)
    assert "5 failed runs" in dry.out
    assert "calls of the AI provider: 3, about $1.50" in dry.out
    assert gemini.begun == 3
    assert "5 runs: 5 completed" in real.out
    assert "done" in listed.out
    assert "replay.start" in log.out
    assert "the store is back" in log.out


async def test_ctrl_c_cancels_the_job_where_nobody_can_be_asked(database_url, tmp_path):
    uploads = store_runs(database_url, [failed_run(n) for n in range(40)])
    env = {"DATABASE_URL": database_url}
    saga = Saga()
    saga.holds = lambda upload_id: upload_id not in uploads[:11]
    async with embedded(database_url, tmp_path, saga) as context:
        process = await start_darkroom("replay", "--failed", "--rate", 1000, "--at-once", 5, *WHY, env=env)

        async def full():
            jobs = await context.jobs.latest(1)
            tally = await context.jobs.tally(jobs[0].id) if jobs else Tally()
            return (tally.completed, tally.requested) == (11, 5)

        await until(full)
        process.send_signal(signal.SIGINT)
        out, err = await asyncio.wait_for(process.communicate(), 20)
        [job] = await context.jobs.latest(1)
        saga.let_go.set()
        shown = await darkroom("replay", "show", job.id, env=env)
    assert (process.returncode, job.state) == (130, "cancelled"), (out, err)
    assert "24 left out" in out.decode()
    assert shown.out.count("cancelled") >= 24


async def test_a_job_goes_on_without_the_command_that_began_it(database_url, tmp_path):
    uploads = store_runs(database_url, [failed_run(n) for n in range(12)])
    env = {"DATABASE_URL": database_url}
    said = await darkroom("replay", "--failed", "--detach", "--rate", 1000, *WHY, env=env)
    assert said.status == 0, said
    async with embedded(database_url, tmp_path, Saga()) as context:

        async def over():
            [job] = await context.jobs.latest(1)
            return job.ended_at

        await until(over)
        folded = await context.stream_reader.uploads(uploads)
        [job] = await context.jobs.latest(1)
        late = await darkroom("replay", "cancel", job.id, *WHY, env=env)
    assert {upload.status for upload in folded.values()} == {Status.COMPLETED}
    assert (late.status, "already done" in late.err) == (1, True)
