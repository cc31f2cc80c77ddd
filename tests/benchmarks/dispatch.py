"""One dispatcher and all that is due: rows published and settled, runs looked after, and looks that find nothing."""

import asyncio
import time
from collections.abc import Sequence
from uuid import UUID, uuid4

import aio_pika
import psycopg
from psycopg_pool import AsyncConnectionPool

from contracts.events import ImageValidated
from shared.eventstore.outbox import OutboxSweep
from shared.stages.outbox_dispatcher import BATCH
from shared.upload.saga import ROUTES
from tests.benchmarks import streams
from tests.benchmarks.bare import broker, store
from tests.benchmarks.ground import Ground, p50
from tests.benchmarks.processes import CpuMeter, await_services, meter
from tests.benchmarks.report import Figure, Got, Result, cpu_figures
from tests.benchmarks.saga import IN_FLIGHT
from tests.benchmarks.start import published
from tests.stack import Stack

(_QUEUE,) = ROUTES[ImageValidated]
_VERSION = streams.VALIDATED
_YOUNG = 200
"""Runs begun within as many seconds, so that no stage counts as silent and nothing but the look is measured."""
_IDLE = 4.0
"""Seconds without work at first, as a dispatcher mostly has: what it asks has been asked in vain many times by then."""
_LOOKS = 50
_PATIENCE = 120.0


async def run(ground: Ground) -> Result:
    rounds = ground.pick(quick=1, usual=3)
    few, many, dead = ground.pick(quick=(200, 500, 2_000), usual=(2_000, 10_000, 100_000))
    url, vhost, got = ground.database(), ground.rabbit.create_vhost(), Got()
    ground.say("writing runs under way")
    ids = [name for _ in range(0, many, _YOUNG) for name in streams.fill(url, _YOUNG, _VERSION, analyze=False)][:many]
    with Stack(ground.folder("dispatch"), url, vhost) as stack:
        await_services(stack, "dispatcher")
        ground.say("idling, warming up")
        await asyncio.sleep(_IDLE)
        await _sent(url, ids[:few])
        await _purged(vhost)
        cpu = meter(stack, ground)
        for nth in range(rounds):
            ground.say(f"round {nth + 1} of {rounds}")
            await _round(got, cpu, url, vhost, ids, few)
        for nth in range(rounds):
            ground.say(f"watches, round {nth + 1} of {rounds}")
            bare = store.watches(url, ids[:few], _VERSION)
            got.add(watched=await _looked_after(url, ids[:few]), bare_watched=bare)
    ground.rabbit.delete_vhost(vhost)
    ground.say("dead rows")
    await _looks(got, ground.database(), dead)
    return Result(
        name="dispatch",
        about="rows due at once, all of them a dispatcher's: what it claims, publishes and settles",
        settings={"rounds": str(rounds), "rows claimed at once": str(BATCH), "looks": str(_LOOKS)},
        figures=_figures(got, few, many, dead),
    )


async def _round(got: Got, cpu: CpuMeter, url: str, vhost: str, ids: Sequence[UUID], few: int) -> None:
    confirmed, _ = await broker.rates(vhost, few, in_flight=IN_FLIGHT)
    _due(url, ids[:few], later="1 hour")
    claimed = store.claims(url, few, BATCH)
    got.add(confirmed=confirmed, claimed=claimed)
    got.add(few=await _sent(url, ids[:few]), few_copies=await _purged(vhost) / few)
    cpu.taken()
    got.add(many=await _sent(url, ids))
    got.add_cpu(cpu.taken(), len(ids))
    got.add(many_copies=await _purged(vhost) / len(ids))


def _due(url: str, ids: Sequence[UUID], target: str = "", *, later: str = "0 s") -> None:
    """Put a row for each upload into the outbox, in one transaction."""
    with psycopg.connect(url) as conn:
        conn.execute(
            "INSERT INTO outbox (upload_id, version, target, available_at)"
            " SELECT id, %s, %s, now() + %s::interval FROM unnest(%s::uuid[]) AS id",
            (_VERSION, target, later, list(ids)),
        )


async def _sent(url: str, ids: Sequence[UUID]) -> float:
    """Have a row for each upload due now; give rows a second until the last is settled."""
    began = time.perf_counter()
    _due(url, ids)
    await published(url)
    return len(ids) / (time.perf_counter() - began)


async def _purged(vhost: str) -> int:
    """Take all messages away, and return their number: more than rows where one was sent twice."""
    async with await aio_pika.connect(vhost) as connection:
        queue = await (await connection.channel()).get_queue(_QUEUE)
        return (await queue.purge()).message_count or 0


async def _looked_after(url: str, ids: Sequence[UUID]) -> float:
    """Have a watch for each run due now; give looks a second until the last is put off again."""
    began = time.perf_counter()
    _due(url, ids, "watch")
    async with asyncio.timeout(_PATIENCE), await psycopg.AsyncConnection.connect(url, autocommit=True) as conn:
        while True:
            # Claimed for 30 s, and then put off for 15.
            left = await conn.execute(
                "SELECT EXISTS (SELECT FROM outbox WHERE available_at NOT BETWEEN now() AND now() + '20 s'::interval)"
            )
            if not (await left.fetchone())[0]:
                break
            await asyncio.sleep(0.01)
        looked = len(ids) / (time.perf_counter() - began)
        await conn.execute("TRUNCATE outbox")
        return looked


async def _looks(got: Got, url: str, dead: int) -> None:
    """Look for due rows where there are none: in an empty outbox, and beyond dead rows that a snapshot holds."""
    streams.fill(url, _YOUNG, _VERSION)  # for a plan as where there are events
    ids = [uuid4() for _ in range(dead)]
    async with AsyncConnectionPool(url, open=False, kwargs={"autocommit": True}) as pool:
        sweep = OutboxSweep(pool)
        got.add(empty=p50([await _look(sweep) for _ in range(_LOOKS)]))
        with psycopg.connect(url) as conn, psycopg.connect(url) as snapshot:
            snapshot.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            snapshot.execute("SELECT 1 FROM outbox")
            _due(url, ids)
            conn.execute("DELETE FROM outbox")
            conn.commit()
            got.add(held=p50([await _look(sweep) for _ in range(_LOOKS)]))
        await _look(sweep)  # marks the index entries that lead to nothing
        got.add(released=p50([await _look(sweep) for _ in range(_LOOKS)]))


async def _look(sweep: OutboxSweep) -> float:
    began = time.perf_counter()
    if await sweep.claim(BATCH):
        raise RuntimeError("something was due")
    return time.perf_counter() - began


def _figures(got: Got, few: int, many: int, dead: int) -> list[Figure]:
    pairs = zip(got["confirmed"], got["claimed"], strict=True)
    beside = {
        "floor": f"bare confirms, and bare claims and deletes of {BATCH} rows, one after the other",
        "floor_rounds": [1 / (1 / confirmed + 1 / claimed) for confirmed, claimed in pairs],
    }
    look = {"floor": "a look at an empty outbox", "floor_rounds": got["empty"]}
    return [
        Figure(name=f"{few:,} due at once", unit="rows/s", rounds=got["few"], **beside),
        Figure(name=f"{many:,} due at once", unit="rows/s", rounds=got["many"], **beside),
        Figure(name=f"messages a row, {few:,} due", unit="", rounds=got["few_copies"]),
        Figure(name=f"messages a row, {many:,} due", unit="", rounds=got["many_copies"]),
        Figure(name=f"watches, {few:,} due at once", unit="looks/s", rounds=got["watched"],
               floor="bare read of the stream and bare UPDATE, one by one", floor_rounds=got["bare_watched"]),
        Figure(name="a look, nothing due", unit="ms", rounds=got["empty"]),
        Figure(name=f"a look, {dead:,} dead rows that an old snapshot holds", unit="ms", rounds=got["held"], **look),
        Figure(name="a look, the snapshot gone, no vacuum yet", unit="ms", rounds=got["released"], **look),
        *cpu_figures(got, "row"),
    ]  # fmt: skip
