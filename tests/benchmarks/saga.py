"""Whole runs, from the POST to the row that says `completed`: everything real but the pictures."""

import asyncio
import subprocess
import sys
import time
from collections.abc import Iterator
from uuid import UUID

import psycopg

from shared.upload.saga import STAGE_OF_QUEUE
from tests.benchmarks import streams
from tests.benchmarks.append import requests
from tests.benchmarks.bare import broker, store
from tests.benchmarks.ground import Ground, p50, quantile
from tests.benchmarks.processes import CpuMeter, await_broker, await_services, meter, sampled
from tests.benchmarks.report import Figure, Got, Result, cpu_figures
from tests.benchmarks.start import published, starts
from tests.benchmarks.wire import Connection
from tests.stack import Stack

IN_FLIGHT = 64
_LOOK_BUSY, _LOOK_ALONE = 0.01, 0.002
"""Seconds between looks for completed runs; what a latency may be too long by."""
_PATIENCE = 120.0
_ASK_AGAIN = 0.5
COMMITS, EVENTS, CONFIRMS, DELIVERIES, HOPS = 6, 7, 5, 6, 4
"""Of one run: commits, event rows, messages published, messages consumed, and messages on the way to its end."""


async def run(ground: Ground) -> Result:
    rounds = ground.pick(quick=2, usual=5)
    one, many = ground.pick(quick=(10, 200), usual=(40, 500))
    url, vhost = ground.database(), ground.rabbit.create_vhost()
    floor_vhost = ground.rabbit.create_vhost()
    ground.say("registering uploads")
    number = 2 * many + rounds * (one + many)
    ids = iter(streams.fill(url, number, streams.REGISTERED))
    floor_ids = iter(streams.fill(url, rounds * (one + 2000), streams.REGISTERED))
    with Stack(ground.folder("saga"), url, vhost) as stack:
        start_noop(stack)
        await_services(stack, "gateway", "dispatcher", "analytics")
        await_broker(stack)
        ground.say("warming up")
        await _runs(stack, ids, many, in_flight=IN_FLIGHT)
        await published(url)
        got = Got()
        cpu = meter(stack, ground)
        with sampled(stack.processes, ground.profile, "saga"):
            for nth in range(rounds):
                ground.say(f"round {nth + 1} of {rounds}")
                await _floors(got, url, floor_vhost, floor_ids, one)
                await _round(got, stack, cpu, ids, (one, many))
    for name in (vhost, floor_vhost):
        ground.rabbit.delete_vhost(name)
    return Result(
        name="saga",
        about="no-op stages, a process each, over gateway, RabbitMQ and PostgreSQL, dispatcher and analytics beside",
        settings={
            "runs a round": f"{one} with 1 and {many} with {IN_FLIGHT} in flight",
            "rounds": str(rounds),
            "a look at the rows every": f"{_LOOK_ALONE * 1000:.0f} ms with 1, {_LOOK_BUSY * 1000:.0f} ms with "
            f"{IN_FLIGHT} in flight",
        },
        figures=_figures(got),
    )


def start_noop(stack: Stack) -> None:
    """Start the four stages without their pictures."""
    for name in STAGE_OF_QUEUE:
        with (stack.folder / f"{name}.log").open("ab") as log:
            stack.processes[name] = subprocess.Popen(
                [sys.executable, "-m", "tests.benchmarks.noop_stage", name], env=stack.env, stdout=log, stderr=log
            )


async def _floors(got: Got, url: str, vhost: str, ids: Iterator[UUID], one: int) -> None:
    confirmed, consumed = await broker.rates(vhost, 2000, in_flight=IN_FLIGHT)
    hops = await broker.hop_latencies(vhost, one)
    commits = store.commit_latencies(url, requests(ids, one))
    got.add(confirmed=confirmed, consumed=consumed, stored=store.events_only(url, requests(ids, 2000)))
    got.add(hop_p50=p50(hops), commit_p50=p50(commits))
    got.add(hop_p99=quantile(hops, 0.99), commit_p99=quantile(commits, 0.99))


async def _round(got: Got, stack: Stack, cpu: CpuMeter, ids: Iterator[UUID], numbers: tuple[int, int]) -> None:
    one, many = numbers
    alone, _ = await _runs(stack, ids, one, in_flight=1)
    got.add(p50=p50(alone), p99=quantile(alone, 0.99))
    await published(stack.database_url)
    cpu.taken()
    busy, seconds = await _runs(stack, ids, many, in_flight=IN_FLIGHT)
    await published(stack.database_url)
    got.add(rate=many / seconds, busy_p50=p50(busy), busy_p99=quantile(busy, 0.99))
    got.add_cpu(cpu.taken(), many)


class Completions:
    """Looks at the rows of the runs under way, one query a look, and wakes whoever waits for one."""

    def __init__(self, conn: psycopg.AsyncConnection, every: float) -> None:
        self._conn = conn
        self._every = every
        self._waiting: dict[UUID, asyncio.Future[None]] = {}

    def of(self, upload_id: UUID) -> asyncio.Future[None]:
        self._waiting[upload_id] = asyncio.get_running_loop().create_future()
        return self._waiting[upload_id]

    async def look(self) -> None:
        """Look until cancelled. Raises RuntimeError where a run failed."""
        while True:
            await asyncio.sleep(self._every)
            ended = await self._conn.execute(
                "SELECT id, status FROM uploads WHERE id = ANY(%b) AND status <> 'processing' AND status <> 'pending'",
                (list(self._waiting),),
                prepare=True,
            )
            for upload_id, status in await ended.fetchall():
                if status != "completed":
                    raise RuntimeError(f"the run of {upload_id} ended as {status}")
                self._waiting.pop(upload_id).set_result(None)


async def _runs(stack: Stack, ids: Iterator[UUID], number: int, *, in_flight: int) -> tuple[list[float], float]:
    """Have `number` runs done, `in_flight` at a time; return each one's seconds, and those of all together."""
    waiting, latencies = zip(ids, range(number), strict=False), []
    async with (
        asyncio.timeout(_PATIENCE),
        await psycopg.AsyncConnection.connect(stack.database_url, autocommit=True) as conn,
        asyncio.TaskGroup() as group,
    ):
        completions = Completions(conn, _LOOK_ALONE if in_flight == 1 else _LOOK_BUSY)
        connections = [await Connection.open(stack.port) for _ in range(in_flight)]

        async def keep_running(connection: Connection) -> None:
            for upload_id, _ in waiting:
                (message,) = starts(iter([upload_id]), 1)
                completed = completions.of(upload_id)
                began = time.perf_counter()
                await _accepted(connection, message)
                await completed
                latencies.append(time.perf_counter() - began)

        looking = group.create_task(completions.look())
        began = time.perf_counter()
        await asyncio.gather(*(keep_running(connection) for connection in connections))
        seconds = time.perf_counter() - began
        looking.cancel()
        for connection in connections:
            connection.close()
    return latencies, seconds


async def _accepted(connection: Connection, message: bytes) -> None:
    """Start a run. A gateway that has no time for it says 500, and to ask again: on a busy machine it may."""
    asked_before = False
    while (status := await connection.call(message)) == 500:
        asked_before = True
        await asyncio.sleep(_ASK_AGAIN)
    # A start that was refused for want of an answer from the database may have been recorded all the same.
    if status != 202 and not (asked_before and status == 409):
        raise RuntimeError(f"a start was answered with {status}")


def _figures(got: Got) -> list[Figure]:
    def bare(share: str) -> list[float]:
        pairs = zip(got[f"commit_{share}"], got[f"hop_{share}"], strict=True)
        return [COMMITS * commit + HOPS * hop for commit, hop in pairs]

    rates = zip(got["confirmed"], got["consumed"], got["stored"], strict=True)
    together = [1 / (CONFIRMS / sent + DELIVERIES / taken + EVENTS / stored) for sent, taken, stored in rates]
    one_by_one = f"{COMMITS} bare commits and {HOPS} bare hops through a queue"
    floor = f"{CONFIRMS} bare confirms, {DELIVERIES} bare deliveries and {EVENTS} bare rows, one after the other"
    figures = [
        Figure(name="1 in flight, p50", unit="ms", rounds=got["p50"], floor=one_by_one, floor_rounds=bare("p50")),
        Figure(name="1 in flight, p99", unit="ms", rounds=got["p99"], floor=one_by_one, floor_rounds=bare("p99")),
        Figure(name=f"{IN_FLIGHT} in flight", unit="runs/s", rounds=got["rate"], floor=floor, floor_rounds=together),
        Figure(name=f"{IN_FLIGHT} in flight, p50", unit="ms", rounds=got["busy_p50"]),
        Figure(name=f"{IN_FLIGHT} in flight, p99", unit="ms", rounds=got["busy_p99"]),
        Figure(name=f"bare broker, {IN_FLIGHT} publishing", unit="confirms/s", rounds=got["confirmed"]),
        Figure(name="bare broker, one consumer", unit="deliveries/s", rounds=got["consumed"]),
        Figure(name="bare hop, p50", unit="ms", rounds=got["hop_p50"]),
        Figure(name=f"bare INSERT in groups of {store.GROUP}", unit="rows/s", rounds=got["stored"]),
        Figure(name="bare commit, p50", unit="ms", rounds=got["commit_p50"]),
    ]
    return figures + cpu_figures(got, "run")
