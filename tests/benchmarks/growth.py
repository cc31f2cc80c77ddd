"""What a million uploads do to appends, status reads and the operators' list."""

import time

from psycopg_pool import AsyncConnectionPool

from contracts.events import Status
from shared.projection.runs import RunFilter, RunQueries
from tests.benchmarks import streams
from tests.benchmarks.append import IN_FLIGHT, rate, requests
from tests.benchmarks.ground import Ground, p50
from tests.benchmarks.processes import await_services
from tests.benchmarks.report import Figure, Got, Result
from tests.benchmarks.status import CONNECTIONS, reads
from tests.benchmarks.wire import drive
from tests.stack import Stack

_PAGE = 50


async def run(ground: Ground) -> Result:
    sizes = ground.pick(quick=[1_000, 2_000], usual=[10_000, 100_000], full=[10_000, 100_000, 1_000_000])
    rounds = ground.pick(quick=1, usual=3)
    number = ground.pick(quick=300, usual=3000)
    measured: dict[int, Got] = {}
    for size in sizes:
        url = ground.seeded(size)
        measured[size] = await _at(ground, url, rounds, number)
    names = {
        "append": (f"appends, {IN_FLIGHT} in flight", "appends/s"),
        "status": (f"status reads, {CONNECTIONS} in flight", "reads/s"),
        "status_p50": ("status read, 1 in flight, p50", "ms"),
        "runs": (f"operators' list, {_PAGE} runs", "ms"),
        "failed": (f"operators' list, {_PAGE} failed runs", "ms"),
    }
    return Result(
        name="growth",
        about="the same work with more and more uploads in the database",
        settings={"rounds": str(rounds), "appends and reads a round": str(number)},
        figures=[
            Figure(
                name=f"{what}, {size:,} uploads",
                unit=unit,
                rounds=measured[size][key],
                floor=f"the same with {sizes[0]:,} uploads",
                floor_rounds=measured[sizes[0]][key],
            )
            for key, (what, unit) in names.items()
            for size in sizes
        ],
    )


async def _at(ground: Ground, url: str, rounds: int, number: int) -> Got:
    got, vhost = Got(), ground.rabbit.create_vhost()
    ids = iter(streams.fill(url, rounds * number, streams.REGISTERED))
    polled = streams.sample(url, 1000)
    with Stack(ground.folder("growth"), url, vhost) as stack:
        await_services(stack, "gateway")
        await drive(stack.port, reads(polled, number), in_flight=CONNECTIONS, expect=200)
        async with AsyncConnectionPool(url, open=False, min_size=1, kwargs={"autocommit": True}) as pool:
            for nth in range(rounds):
                ground.say(f"round {nth + 1} of {rounds}")
                got.add(append=await rate(url, requests(ids, number)))
                busy = await drive(stack.port, reads(polled, number), in_flight=CONNECTIONS, expect=200)
                alone = await drive(stack.port, reads(polled, 300), in_flight=1, expect=200)
                got.add(status=busy.rate, status_p50=p50(alone.latencies))
                got.add(runs=await _listed(pool, RunFilter()))
                got.add(failed=await _listed(pool, RunFilter(status=Status.FAILED)))
    ground.rabbit.delete_vhost(vhost)
    return got


async def _listed(pool: AsyncConnectionPool, wanted: RunFilter) -> float:
    taken = []
    for _ in range(20):
        began = time.perf_counter()
        page = await RunQueries(pool).page(wanted, limit=_PAGE)
        taken.append(time.perf_counter() - began)
        if len(page) != _PAGE:
            raise RuntimeError(f"expected {_PAGE} runs, got {len(page)}")
    return p50(taken)
