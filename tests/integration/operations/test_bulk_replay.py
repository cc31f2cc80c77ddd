"""A replay of many runs as a job: its ramp, its stop, its end, and what it counted beforehand."""

from collections import Counter

import pytest

from contracts.events import Stage
from shared.operations.bulk_replay import (
    NothingSelectedError,
    Pacing,
    ReplayJobOverError,
    cancel_bulk,
    estimate_bulk,
    replay_progress,
    start_bulk,
)
from shared.operations.runs import Selection
from shared.upload.errors import FinalFailure
from tests.integration.operations.failed_runs import Saga, embedded, failed_run, replays, store_runs, until

FAST = Pacing(rate=5_000, at_once=500)
BY = {"by": "ann", "reason": "the store is back"}


async def over(context, job_id):
    return (await replay_progress(context, job_id)).job.ended_at is not None


async def items_of(context, job_id):
    return await context.jobs.items(job_id, limit=20_000)


async def test_a_thousand_runs_are_replayed_once_each_and_complete(database_url, tmp_path):
    uploads = store_runs(database_url, [failed_run(n) for n in range(1_000)])
    async with embedded(database_url, tmp_path, Saga()) as context:
        job = await start_bulk(context, Selection(), FAST, **BY)
        await until(lambda: over(context, job.id), within=50)
        end = await replay_progress(context, job.id)
        folded = await context.stream_reader.uploads(uploads)
        stream_reader = [await context.store.history(upload_id) for upload_id in uploads[::50]]
    assert (end.job.state, end.tally.completed, end.job.total) == ("done", 1_000, 1_000)
    assert {(upload.status, upload.attempt) for upload in folded.values()} == {("completed", 2)}
    assert {len(replays(history)) for history in stream_reader} == {1}
    assert {(r.requested_by, r.reason) for history in stream_reader for r in replays(history)} == {
        ("ann", "the store is back")
    }


async def test_a_batch_begins_only_when_the_one_before_has_ended(database_url, tmp_path):
    uploads = store_runs(database_url, [failed_run(n) for n in range(150)])
    async with embedded(database_url, tmp_path, Saga()) as context:
        job = await start_bulk(context, Selection(), FAST, **BY)
        await until(lambda: over(context, job.id))
        items = await items_of(context, job.id)
        stream_reader = {upload_id: await context.store.history(upload_id) for upload_id in uploads}
    began = {item.upload_id: replays(stream_reader[item.upload_id])[0].occurred_at for item in items}
    ended = {item.upload_id: stream_reader[item.upload_id][-1].occurred_at for item in items}
    assert Counter(item.batch for item in items) == {1: 1, 2: 10, 3: 100, 4: 39}
    assert [item.upload_id for item in items] == uploads
    for batch in (1, 2, 3):
        last_end = max(ended[item.upload_id] for item in items if item.batch == batch)
        assert last_end < min(began[item.upload_id] for item in items if item.batch == batch + 1)


async def test_a_batch_that_mostly_fails_again_stops_the_job_and_spares_the_rest(database_url, tmp_path):
    uploads = store_runs(database_url, [failed_run(n) for n in range(1_000)])
    well = set(uploads[:11])
    saga = Saga()
    saga.fails = lambda upload_id, stage: None if upload_id in well else FinalFailure("DISK_FULL", "No room.")
    async with embedded(database_url, tmp_path, saga) as context:
        job = await start_bulk(context, Selection(), Pacing(rate=5_000, at_once=30), **BY)
        await until(lambda: over(context, job.id))
        end = await replay_progress(context, job.id)
        items = await items_of(context, job.id)
        folded = await context.stream_reader.uploads(uploads)
        noted = [action for action in await context.audit_log.latest(10) if action.what == "replay.stop"]
    assert end.job.state == "stopped"
    assert end.job.why
    assert "batch 3" in end.job.why
    assert end.tally.completed == 11
    assert 0 < end.tally.failed <= 100
    assert {item.code for item in items if item.state == "failed"} == {"DISK_FULL"}
    assert {item.batch for item in items if item.state in ("completed", "failed")} == {1, 2, 3}
    untouched = [item for item in items if item.state == "cancelled"]
    assert len(untouched) == 1_000 - 11 - end.tally.failed
    assert {folded[item.upload_id].attempt for item in untouched} == {1}
    assert [(action.who, action.details["leftOut"]) for action in noted] == [("darkroom", len(untouched))]


async def test_failures_up_to_the_share_that_was_allowed_stop_nothing(database_url, tmp_path):
    uploads = store_runs(database_url, [failed_run(n) for n in range(111)])
    ill = set(uploads[1::2])
    saga = Saga()
    saga.fails = lambda upload_id, stage: FinalFailure("DISK_FULL", "No room.") if upload_id in ill else None
    async with embedded(database_url, tmp_path, saga) as context:
        job = await start_bulk(context, Selection(), FAST, **BY)
        await until(lambda: over(context, job.id))
        end = await replay_progress(context, job.id)
    assert (end.job.state, end.tally.completed, end.tally.failed) == ("done", 56, 55)


async def test_a_cancelled_job_replays_no_more_and_ends_with_what_was_under_way(database_url, tmp_path):
    uploads = store_runs(database_url, [failed_run(n) for n in range(200)])
    saga = Saga()
    saga.holds = lambda upload_id: upload_id not in uploads[:11]
    async with embedded(database_url, tmp_path, saga) as context:
        job = await start_bulk(context, Selection(), Pacing(rate=5_000, at_once=20), **BY)

        async def full():
            return (await replay_progress(context, job.id)).tally.requested == 20

        await until(full)
        called_off = await cancel_bulk(context, job.id, by="bob", reason="wrong day")
        with pytest.raises(ReplayJobOverError):
            await cancel_bulk(context, job.id, by="bob", reason="again")
        assert called_off.job.ended_at is None
        assert called_off.tally.waiting == 0
        saga.let_go.set()
        await until(lambda: over(context, job.id))
        end = await replay_progress(context, job.id)
        folded = await context.stream_reader.uploads(uploads)
        noted = await context.audit_log.latest(10)
    assert end.job.state == "cancelled"
    assert (end.tally.completed, end.tally.cancelled, end.tally.open) == (31, 169, 0)
    assert [folded[upload_id].attempt for upload_id in uploads] == [2] * 31 + [1] * 169
    assert [(action.who, action.why) for action in noted if action.what == "replay.cancel"] == [("bob", "wrong day")]


async def test_no_more_runs_are_under_way_than_was_allowed(database_url, tmp_path):
    store_runs(database_url, [failed_run(n) for n in range(111)])
    most = 0
    async with embedded(database_url, tmp_path, Saga()) as context:
        job = await start_bulk(context, Selection(), Pacing(rate=5_000, at_once=7), **BY)
        while not await over(context, job.id):
            most = max(most, (await replay_progress(context, job.id)).tally.requested)
    assert 0 < most <= 7


async def test_a_selection_takes_exactly_the_failed_runs_that_match_the_oldest_first(database_url, tmp_path):
    match = [failed_run(n, at=Stage.STORING, code="STORAGE_UNAVAILABLE") for n in (5, 3, 9)]
    others = [
        failed_run(4, at=Stage.WATERMARKING, code="STORAGE_UNAVAILABLE"),
        failed_run(6, at=Stage.STORING, code="INTERNAL_ERROR"),
        failed_run(1, at=Stage.STORING, code="STORAGE_UNAVAILABLE"),
        failed_run(8, at=Stage.STORING, code="STORAGE_UNAVAILABLE", retryable=False),
        failed_run(7)[:-1],
    ]
    ids = store_runs(database_url, match + others)
    since = match[1][-1].occurred_at
    selection = Selection(stage=Stage.STORING, code="STORAGE_UNAVAILABLE", since=since, retryable_only=True, limit=2)
    async with embedded(database_url, tmp_path, Saga()) as context:
        job = await start_bulk(context, selection, FAST, **BY)
        items = await items_of(context, job.id)
        with pytest.raises(NothingSelectedError):
            await start_bulk(context, Selection(code="NO_SUCH"), FAST, **BY)
        assert len(await context.jobs.latest(10)) == 1
    assert [item.upload_id for item in items] == [ids[1], ids[0]]


async def test_runs_that_did_not_get_as_far_are_not_taken_for_a_replay_from_there(database_url, tmp_path):
    ids = store_runs(database_url, [failed_run(1, at=Stage.GENERATING), failed_run(2, at=Stage.WATERMARKING)])
    saga = Saga()
    async with embedded(database_url, tmp_path, saga) as context:
        job = await start_bulk(context, Selection(from_stage=Stage.STORING), FAST, **BY)
        await until(lambda: over(context, job.id))
    assert job.total == 1
    assert saga.done == [(Stage.STORING, ids[1]), (Stage.WATERMARKING, ids[1])]


async def test_a_run_that_somebody_else_replayed_meanwhile_is_not_replayed_again(database_url, tmp_path):
    uploads = store_runs(database_url, [failed_run(n) for n in range(30)])
    saga = Saga()
    async with embedded(database_url, tmp_path, saga) as context:
        jobs = [await start_bulk(context, Selection(), FAST, **BY) for _ in range(2)]
        for job in jobs:
            await until(lambda job=job: over(context, job.id))
        folded = await context.stream_reader.uploads(uploads)
        tallies = [(await replay_progress(context, job.id)).tally for job in jobs]
    assert {upload.attempt for upload in folded.values()} == {2}
    assert [tally.completed for tally in tallies] == [30, 30]
    assert len(saga.done) == 60


async def test_an_estimate_counts_what_would_be_replayed_and_changes_nothing(database_url, tmp_path):
    runs = [failed_run(n, at=Stage.STORING) for n in range(4)]
    runs += [failed_run(n, at=Stage.GENERATING, code="PROVIDER_UNAVAILABLE") for n in range(3)]
    runs += [failed_run(n, at=Stage.VALIDATING, code="INTERNAL_ERROR") for n in range(2)]
    store_runs(database_url, runs)
    async with embedded(database_url, tmp_path, Saga()) as context:
        said = await estimate_bulk(context, Selection(), Pacing(rate=1, at_once=100), call_cost=0.5)
        only = await estimate_bulk(context, Selection(stage=Stage.STORING), Pacing(), call_cost=0.5)
        back = await estimate_bulk(context, Selection(from_stage=Stage.GENERATING), Pacing(), call_cost=0.5)
        assert await context.jobs.latest(1) == []
        assert await context.audit_log.latest(1) == []
    assert (said.runs, said.provider_calls, said.cost) == (9, 5, 2.5)
    assert {(g.stage, g.code): g.runs for g in said.groups} == {
        (Stage.STORING, "STORAGE_UNAVAILABLE"): 4,
        (Stage.GENERATING, "PROVIDER_UNAVAILABLE"): 3,
        (Stage.VALIDATING, "INTERNAL_ERROR"): 2,
    }
    assert (only.runs, only.provider_calls) == (4, 0)
    assert (back.runs, back.provider_calls) == (7, 7)
