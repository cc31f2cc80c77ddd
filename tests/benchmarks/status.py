"""GET /api/status, as pages poll it: reads a second with and without If-None-Match.

A page asks again and again, and so do the readers here; reads of uploads that nobody asked for yet are measured apart.
"""

import itertools
from uuid import UUID

from tests.benchmarks import streams
from tests.benchmarks.ground import Ground, p50, quantile
from tests.benchmarks.processes import CpuMeter, await_services, bare_http, meter, sampled
from tests.benchmarks.report import Figure, Got, Result, cpu_figures
from tests.benchmarks.wire import drive, request
from tests.stack import Stack

CONNECTIONS = 64
_UPLOADS = 1000


async def run(ground: Ground) -> Result:
    rounds = ground.pick(quick=2, usual=5)
    one, many = ground.pick(quick=(100, 500), usual=(500, 10_000))
    url, vhost = ground.database(), ground.rabbit.create_vhost()
    under_way = streams.fill(url, _UPLOADS, streams.VALIDATED)
    completed = streams.fill(url, _UPLOADS, streams.COMPLETED)
    unread = iter(streams.fill(url, rounds * _UPLOADS, streams.VALIDATED))
    fresh = f'"{streams.VALIDATED}"'
    got = Got()
    with Stack(ground.folder("status"), url, vhost) as stack, bare_http() as (bare_port, bare_server):
        await_services(stack, "gateway")
        cpu, bare_cpu = meter(stack, ground), CpuMeter({"bare Litestar": bare_server.pid})
        warm_up = reads(under_way, 500)
        with sampled(stack.processes, ground.profile, "status"):
            for nth in range(-1, rounds):
                ground.say(f"round {nth + 1} of {rounds}")
                if nth < 0:
                    await drive(bare_port, warm_up, in_flight=CONNECTIONS, expect=200)
                    await drive(stack.port, warm_up, in_flight=CONNECTIONS, expect=200)
                    continue
                bare_cpu.taken()
                bare = await drive(bare_port, reads(under_way, many), in_flight=CONNECTIONS, expect=200)
                got.add_cpu(bare_cpu.taken(), many)
                cpu.taken()
                plain = await drive(stack.port, reads(under_way, many), in_flight=CONNECTIONS, expect=200)
                got.add_cpu(cpu.taken(), many)
                known = await drive(
                    stack.port, reads(under_way, many, If_None_Match=fresh), in_flight=CONNECTIONS, expect=304
                )
                done = await drive(stack.port, reads(completed, many), in_flight=CONNECTIONS, expect=200)
                first = await drive(
                    stack.port,
                    reads(list(itertools.islice(unread, _UPLOADS)), _UPLOADS),
                    in_flight=CONNECTIONS,
                    expect=200,
                )
                got.add(first=first.rate, bare=bare.rate, plain=plain.rate, known=known.rate, done=done.rate)
                got.add(busy_p99=quantile(plain.latencies, 0.99), bare_p99=quantile(bare.latencies, 0.99))
                bare = await drive(bare_port, reads(under_way, one), in_flight=1, expect=200)
                alone = await drive(stack.port, reads(under_way, one), in_flight=1, expect=200)
                got.add(p50=p50(alone.latencies), bare_p50=p50(bare.latencies))
    ground.rabbit.delete_vhost(vhost)
    floor = {"floor": "bare Litestar GET", "floor_rounds": got["bare"]}
    return Result(
        name="status",
        about=f"GET /api/status over HTTP/1.1 to one gateway process, {CONNECTIONS} connections, {_UPLOADS} uploads",
        settings={
            "reads a round": f"{many} with {CONNECTIONS} in flight ({_UPLOADS} first ones), {one} with 1",
            "rounds": str(rounds),
        },
        figures=[
            Figure(name="a run under way, 200", unit="reads/s", rounds=got["plain"], **floor),
            Figure(name="with If-None-Match, 304", unit="reads/s", rounds=got["known"], **floor),
            Figure(name="a completed run, 200 with a signed URL", unit="reads/s", rounds=got["done"], **floor),
            Figure(name="read for the first time, 200", unit="reads/s", rounds=got["first"], **floor),
            Figure(name=f"{CONNECTIONS} in flight, p99", unit="ms", rounds=got["busy_p99"], floor="bare Litestar GET",
                   floor_rounds=got["bare_p99"]),
            Figure(name="1 in flight, p50", unit="ms", rounds=got["p50"], floor="bare Litestar GET",
                   floor_rounds=got["bare_p50"]),
            *cpu_figures(got, "read"),
        ],
    )  # fmt: skip


def reads(ids: list[UUID], number: int, **headers: str) -> list[bytes]:
    """Return `number` requests for the status of uploads in turn."""
    each = [request("GET", f"/api/status/{name}", X_Session_Token=streams.TOKEN, **headers) for name in ids]
    return list(itertools.islice(itertools.cycle(each), number))
