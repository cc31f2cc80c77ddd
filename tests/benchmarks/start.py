"""POST /api/process over real HTTP: how soon the 202 comes, and how many a second."""

import asyncio
import time
from collections.abc import Iterator
from uuid import UUID, uuid4

import psycopg

from tests.benchmarks import streams
from tests.benchmarks.append import requests
from tests.benchmarks.bare import store
from tests.benchmarks.ground import Ground, p50, quantile
from tests.benchmarks.processes import CpuMeter, await_services, bare_http, meter, sampled
from tests.benchmarks.report import Figure, Got, Result, cpu_figures
from tests.benchmarks.wire import drive, request
from tests.stack import Stack

IN_FLIGHT = 32
_WARM_UP = 200


async def run(ground: Ground) -> Result:
    rounds = ground.pick(quick=2, usual=5)
    one, many = ground.pick(quick=(50, 300), usual=(300, 1500))
    url, vhost = ground.database(), ground.rabbit.create_vhost()
    ground.say("registering uploads")
    ids = iter(streams.fill(url, 2 * _WARM_UP + rounds * (2 * one + 2 * many), streams.REGISTERED))
    with Stack(ground.folder("start"), url, vhost) as stack, bare_http() as (bare_port, bare_server):
        await_services(stack, "gateway", "dispatcher")
        await drive(stack.port, starts(ids, _WARM_UP), in_flight=IN_FLIGHT, expect=202)
        await drive(bare_port, starts(ids, _WARM_UP), in_flight=IN_FLIGHT, expect=202)
        with sampled(stack.processes, ground.profile, "start"):
            got = await _rounds(ground, stack, (bare_port, bare_server.pid), ids, rounds, one, many)
    ground.rabbit.delete_vhost(vhost)
    return Result(
        name="start",
        about="POST /api/process over HTTP/1.1 to one gateway process that publishes to RabbitMQ; nobody consumes",
        settings={"starts a round": f"{one} with 1 and {many} with {IN_FLIGHT} in flight", "rounds": str(rounds)},
        figures=_figures(got),
    )


async def _rounds(ground, stack, bare, ids, rounds, one, many) -> Got:
    got, (bare_port, bare_pid) = Got(), bare
    cpu, bare_cpu = meter(stack, ground), CpuMeter({"bare Litestar": bare_pid})
    for nth in range(rounds):
        ground.say(f"round {nth + 1} of {rounds}")
        bare = await drive(bare_port, starts([uuid4()], 1) * one, in_flight=1, expect=202)
        commits = store.commit_latencies(stack.database_url, requests(ids, one))
        got.add(bare_p50=p50(bare.latencies), bare_p99=quantile(bare.latencies, 0.99))
        got.add(commit_p50=p50(commits), commit_p99=quantile(commits, 0.99))
        alone = await drive(stack.port, starts(ids, one), in_flight=1, expect=202)
        got.add(p50=p50(alone.latencies), p99=quantile(alone.latencies, 0.99))

        bare_cpu.taken()
        bare = await drive(bare_port, starts([uuid4()], 1) * many, in_flight=IN_FLIGHT, expect=202)
        stored = store.events_only(stack.database_url, requests(ids, many))
        got.add(bare_rate=bare.rate, bare_busy_p50=p50(bare.latencies), stored=stored)
        got.add(bare_busy_p99=quantile(bare.latencies, 0.99))
        got.add_cpu(bare_cpu.taken(), many)
        cpu.taken()
        began = time.perf_counter()
        busy = await drive(stack.port, starts(ids, many), in_flight=IN_FLIGHT, expect=202)
        await published(stack.database_url)
        whole = time.perf_counter() - began
        got.add(rate=busy.rate, busy_p50=p50(busy.latencies), busy_p99=quantile(busy.latencies, 0.99))
        got.add(published=many / whole)
        got.add_cpu(cpu.taken(), many)
    return got


def _figures(got: Got) -> list[Figure]:
    both = "bare Litestar POST, then a bare commit"
    one_by_one = {
        share: [http + commit for http, commit in zip(got[f"bare_{share}"], got[f"commit_{share}"], strict=True)]
        for share in ("p50", "p99")
    }
    together = [1 / (1 / http + 1 / stored) for http, stored in zip(got["bare_rate"], got["stored"], strict=True)]
    rate = {"floor": f"bare POST and bare INSERT in groups of {store.GROUP}, one after the other"}
    busy = f"bare POST, {IN_FLIGHT} in flight"
    figures = [
        Figure(name="1 in flight, p50", unit="ms", rounds=got["p50"], floor=both, floor_rounds=one_by_one["p50"]),
        Figure(name="1 in flight, p99", unit="ms", rounds=got["p99"], floor=both, floor_rounds=one_by_one["p99"]),
        Figure(name=f"{IN_FLIGHT} in flight, p50", unit="ms", rounds=got["busy_p50"], floor=busy,
               floor_rounds=got["bare_busy_p50"]),
        Figure(name=f"{IN_FLIGHT} in flight, p99", unit="ms", rounds=got["busy_p99"], floor=busy,
               floor_rounds=got["bare_busy_p99"]),
        Figure(name="starts answered", unit="starts/s", rounds=got["rate"], floor_rounds=together, **rate),
        Figure(name="starts answered and published", unit="starts/s", rounds=got["published"], floor_rounds=together,
               **rate),
        Figure(name="bare Litestar POST", unit="requests/s", rounds=got["bare_rate"]),
        Figure(name="bare INSERT of the event rows", unit="rows/s", rounds=got["stored"]),
        Figure(name="bare commit, p50", unit="ms", rounds=got["commit_p50"]),
    ]  # fmt: skip
    return figures + cpu_figures(got, "start")


def starts(ids: Iterator[UUID], number: int) -> list[bytes]:
    """Return the requests that start `number` uploads."""
    return [
        request("POST", "/api/process", b'{"uploadId":"%s"}' % str(upload_id).encode(), X_Session_Token=streams.TOKEN)
        for upload_id, _ in zip(ids, range(number), strict=False)
    ]


async def published(url: str) -> None:
    """Wait until the outbox holds nothing for the broker. Raises TimeoutError after a minute."""
    async with asyncio.timeout(60), await psycopg.AsyncConnection.connect(url, autocommit=True) as conn:
        while True:
            left = await conn.execute("SELECT EXISTS (SELECT FROM outbox WHERE target <> 'watch')")
            if not (await left.fetchone())[0]:
                return
            await asyncio.sleep(0.01)
