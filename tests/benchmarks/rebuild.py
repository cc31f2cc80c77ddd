"""Events a second from the event table into a fresh read model, and the memory that takes."""

import psycopg

from tests.benchmarks import streams
from tests.benchmarks.ground import Ground
from tests.benchmarks.processes import child
from tests.benchmarks.report import Figure, Got, Result


async def run(ground: Ground) -> Result:
    sizes = ground.pick(
        quick=[(1_000, 1)],
        usual=[(10_000, 3), (100_000, 1)],
        full=[(10_000, 3), (100_000, 3), (1_000_000, 1)],
    )
    figures = []
    for uploads, rounds in sizes:
        url, got = ground.seeded(uploads), Got()
        with psycopg.connect(url) as conn:
            (events,) = conn.execute("SELECT count(*) FROM upload_events").fetchone()
        for nth in range(rounds):
            ground.say(f"{uploads} uploads, round {nth + 1} of {rounds}")
            bare, full = child("scan", url), child("rebuild", url)
            got.add(bare=events / bare["seconds"], rate=events / full["seconds"])
            got.add(bare_peak=bare["peak"] / 2**20, peak=full["peak"] / 2**20)
        floor = "bare SELECT and decode"
        figures += [
            Figure(name=f"{uploads:,} uploads", unit="events/s", rounds=got["rate"], floor=floor,
                   floor_rounds=got["bare"]),
            Figure(name=f"{uploads:,} uploads, peak memory", unit="MiB", rounds=got["peak"], floor=floor,
                   floor_rounds=got["bare_peak"]),
        ]  # fmt: skip
    return Result(
        name="rebuild",
        about=f"the read model from the events, {streams.COMPLETED} of each completed upload",
        settings={"a process of its own": "peak memory is beyond what its imports take"},
        figures=figures,
    )
