"""A replay job outlives the dispatcher that works on it: real dispatchers, killed and stopped, over a real broker."""

import asyncio
from collections import Counter

import pytest

from shared.bootstrap import rabbit_runtime
from shared.operations.bulk_replay import Pacing, replay_progress, start_bulk
from shared.operations.runs import Selection
from tests.integration.operations.failed_runs import (
    Saga,
    failed_run,
    replays,
    running,
    settings_for,
    store_runs,
    until,
)
from tests.stack import Stack

BY = {"by": "ann", "reason": "the store is back"}


@pytest.mark.slow
@pytest.mark.timeout(150)
@pytest.mark.parametrize("how", ["kill", "stop"])
async def test_another_dispatcher_goes_on_and_replays_no_run_twice(database_url, amqp_url, tmp_path, how):
    uploads = store_runs(database_url, [failed_run(n) for n in range(300)])
    saga = Saga()
    runtime = rabbit_runtime(settings_for(database_url, tmp_path, AMQP_URL=amqp_url), public_url="http://127.0.0.1:1")
    saga.attach(runtime)
    async with running(runtime) as context:
        with Stack(tmp_path, database_url, amqp_url) as stack:
            job = await start_bulk(context, Selection(), Pacing(rate=60, at_once=100), **BY)

            async def completed(number):
                return (await replay_progress(context, job.id)).tally.completed >= number

            async def over():
                return (await replay_progress(context, job.id)).job.ended_at is not None

            stack.start("dispatcher")
            await until(lambda: completed(60))
            stack.start("dispatcher#2")
            await asyncio.to_thread(getattr(stack, how), "dispatcher")
            assert not await completed(250)
            await until(over, within=90)
        end = await replay_progress(context, job.id)
        stream_reader = [await context.store.history(upload_id) for upload_id in uploads]
    assert (end.job.state, end.tally.completed) == ("done", 300)
    assert Counter(len(replays(history)) for history in stream_reader) == {1: 300}
    assert len(set(saga.done)) == len(saga.done) == 600
