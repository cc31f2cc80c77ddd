"""Ten thousand failed runs resumed at the storing stage: set going, and a whole job carried to its end."""

import asyncio
import time
from collections.abc import Sequence
from uuid import UUID

from contracts.events import ReplayRequested, Stage
from shared.clock import utc_now
from shared.operations.bulk_replay import Pacing, replay_progress, start_bulk
from shared.operations.context import OperatorContext, open_operator_context
from shared.operations.replay_runner import CHUNK
from shared.operations.runs import Selection
from shared.upload.decisions import request_replay
from tests.benchmarks import streams
from tests.benchmarks.bare import store
from tests.benchmarks.ground import Ground
from tests.benchmarks.processes import await_services, meter
from tests.benchmarks.report import Figure, Got, Result, cpu_figures
from tests.benchmarks.saga import start_noop
from tests.stack import Stack

AT_ONCE = 1000
_PATIENCE = 300.0


async def run(ground: Ground) -> Result:
    rounds = ground.pick(quick=1, usual=3)
    number, whole = ground.pick(quick=(500, 200), usual=(10_000, 2000), full=(10_000, 10_000))
    got = Got()
    for nth in range(rounds):
        ground.say(f"round {nth + 1} of {rounds}")
        url = ground.database()
        ids = streams.fill(url, number, streams.FAILED)
        bare_ids = streams.fill(url, number, streams.FAILED)
        async with open_operator_context(url) as context:
            bare_events = [event for chunk in _chunks(bare_ids) for event in await _replays(context, chunk)]
            got.add(bare=store.events_only(url, bare_events))
            began = time.perf_counter()
            for chunk in _chunks(ids):
                await asyncio.gather(*(context.store.append(event) for event in await _replays(context, chunk)))
            got.add(rate=number / (time.perf_counter() - began))
        ground.postgres.drop_database(url)
    ground.say(f"a job of {whole} runs")
    await _job(ground, got, whole)
    floor = {"floor": f"bare INSERT of the event rows, {store.GROUP} in a transaction", "floor_rounds": got["bare"]}
    return Result(
        name="replay",
        about="runs that failed at storing, resumed there by the replay of many",
        settings={
            "set going": f"{number} runs a round, streams read and events appended {CHUNK} at a time, {rounds} rounds",
            "job": f"{whole} runs, {AT_ONCE} at once, no limit of the rate, through no-op stages, once",
        },
        figures=[
            Figure(name="set going", unit="runs/s", rounds=got["rate"], **floor),
            Figure(name=f"a job of {whole}, from its start to its last run's end", unit="runs/s", rounds=got["job"]),
            *cpu_figures(got, "replayed run"),
        ],
    )


async def _job(ground: Ground, got: Got, number: int) -> None:
    url, vhost = ground.database(), ground.rabbit.create_vhost()
    streams.fill(url, number, streams.FAILED)
    with Stack(ground.folder("replay"), url, vhost) as stack:
        start_noop(stack)
        await_services(stack, "dispatcher", "analytics")
        cpu = meter(stack, ground)
        async with open_operator_context(url) as context, asyncio.timeout(_PATIENCE):
            pacing = Pacing(rate=1e6, at_once=AT_ONCE, stop_at=0.5)
            began = time.perf_counter()
            job = await start_bulk(context, Selection(), pacing, by="benchmark", reason="to measure it")
            while (now := await replay_progress(context, job.id)).job.ended_at is None:
                await asyncio.sleep(0.1)
            got.add(job=number / (time.perf_counter() - began))
            got.add_cpu(cpu.taken(), number)
    if now.tally.completed != number:
        raise RuntimeError(f"not all {number} runs completed: {now}")
    ground.rabbit.delete_vhost(vhost)


async def _replays(context: OperatorContext, ids: Sequence[UUID]) -> list[ReplayRequested]:
    uploads = await context.stream_reader.uploads(ids)
    return [
        request_replay(upload, from_stage=Stage.STORING, requested_by="ann", reason="an outage", now=utc_now())
        for upload in uploads.values()
    ]


def _chunks(ids: Sequence[UUID]) -> list[Sequence[UUID]]:
    return [ids[at : at + CHUNK] for at in range(0, len(ids), CHUNK)]
