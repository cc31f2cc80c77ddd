"""What a million uploads do to appends, status reads and the operators' list."""

import contextlib
import itertools
import time
from collections.abc import AsyncIterator, Iterator
from uuid import UUID

import msgspec
from psycopg_pool import AsyncConnectionPool

from contracts.events import Stage, Status
from shared.operations.runs import RunFilter, RunQueries
from tests.benchmarks import streams
from tests.benchmarks.append import IN_FLIGHT, rate, requests
from tests.benchmarks.ground import Ground, p50
from tests.benchmarks.processes import await_services
from tests.benchmarks.report import Figure, Got, Result
from tests.benchmarks.status import CONNECTIONS, reads
from tests.benchmarks.wire import drive
from tests.stack import Stack

_PAGE = 50
_READ_ALONE = 300


class _Place(msgspec.Struct):
    """A database of one size, a gateway over it, and what is measured there."""

    url: str
    port: int
    pool: AsyncConnectionPool
    registered: Iterator[UUID]
    polled: Iterator[UUID]
    got: Got


async def run(ground: Ground) -> Result:
    sizes = ground.pick(quick=[1_000, 2_000], usual=[10_000, 100_000, 1_000_000])
    rounds = ground.pick(quick=1, usual=5, full=9)
    number = ground.pick(quick=300, usual=1500)
    async with contextlib.AsyncExitStack() as places:
        at = {size: await places.enter_async_context(_place(ground, size, (rounds + 1) * number)) for size in sizes}
        for nth in range(rounds + 1):
            # In turns, and each size first as often as the others: what the machine does meanwhile, it does to all.
            for size in (sizes[nth % len(sizes) :] + sizes)[: len(sizes)]:
                ground.say(f"round {nth} of {rounds}, {size:,} uploads")
                await _measure(at[size], number)
    for place in at.values():
        for values in place.got.values():
            del values[0]  # the warm-up
    names = {
        "append": (f"appends, {IN_FLIGHT} in flight", "appends/s"),
        "status": (f"status reads, {CONNECTIONS} in flight", "reads/s"),
        "status_p50": ("status read, 1 in flight, p50", "ms"),
        "runs": (f"operators' list, {_PAGE} runs", "ms"),
        "failed": (f"operators' list, {_PAGE} failed runs", "ms"),
        "code": ("operators' list, a code that no run failed with", "ms"),
        "stage": ("operators' list, a stage that no run is at", "ms"),
    }
    return Result(
        name="growth",
        about="the same work with more and more uploads in the database, the sizes in turns",
        settings={
            "rounds": str(rounds),
            "appends and reads a round": str(number),
            "beside the uploads": f"{(rounds + 1) * number} that are registered, to append to",
            "uploads read": "from everywhere in the table, none twice before all others",
        },
        figures=[
            Figure(
                name=f"{what}, {size:,} uploads",
                unit=unit,
                rounds=at[size].got[key],
                floor=f"the same with {sizes[0]:,} uploads",
                floor_rounds=at[sizes[0]].got[key],
            )
            for key, (what, unit) in names.items()
            for size in sizes
        ],
    )


@contextlib.asynccontextmanager
async def _place(ground: Ground, size: int, appends: int) -> AsyncIterator[_Place]:
    url, vhost = ground.seeded(size), ground.rabbit.create_vhost()
    registered = streams.fill(url, appends, streams.REGISTERED)
    polled = streams.sample(url, appends)
    with Stack(ground.folder("growth"), url, vhost) as stack:
        await_services(stack, "gateway")
        async with AsyncConnectionPool(url, open=False, min_size=1, kwargs={"autocommit": True}) as pool:
            yield _Place(
                url=url,
                port=stack.port,
                pool=pool,
                registered=iter(registered),
                polled=itertools.cycle(polled),
                got=Got(),
            )
    ground.rabbit.delete_vhost(vhost)


async def _measure(place: _Place, number: int) -> None:
    got = place.got
    got.add(append=await rate(place.url, requests(place.registered, number)))
    polled = list(itertools.islice(place.polled, number))
    busy = await drive(place.port, reads(polled, number), in_flight=CONNECTIONS, expect=200)
    polled = list(itertools.islice(place.polled, _READ_ALONE))
    alone = await drive(place.port, reads(polled, _READ_ALONE), in_flight=1, expect=200)
    got.add(status=busy.rate, status_p50=p50(alone.latencies))
    got.add(runs=await _listed(place.pool, RunFilter(), expect=_PAGE))
    got.add(failed=await _listed(place.pool, RunFilter(status=Status.FAILED), expect=_PAGE))
    got.add(code=await _listed(place.pool, RunFilter(code="NONE_HAS_IT"), expect=0, times=3))
    nobody = RunFilter(status=Status.PROCESSING, stage=Stage.WATERMARKING)
    got.add(stage=await _listed(place.pool, nobody, expect=0, times=3))


async def _listed(pool: AsyncConnectionPool, wanted: RunFilter, *, expect: int, times: int = 20) -> float:
    taken = []
    for _ in range(times):
        began = time.perf_counter()
        page = await RunQueries(pool).page(wanted, limit=_PAGE)
        taken.append(time.perf_counter() - began)
        if len(page) != expect:
            raise RuntimeError(f"expected {expect} runs, got {len(page)}")
    return p50(taken)
