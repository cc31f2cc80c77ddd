"""What a run leaves in PostgreSQL, and what it writes on the way: tables, indexes, and the write-ahead log."""

import asyncio
import datetime as dt

import psycopg
import uuid_utils.compat

from contracts.events import encode
from shared.eventstore.application import UploadsApplication
from shared.eventstore.group_commit import GroupCommit
from shared.eventstore.outbox import rows_for
from tests.benchmarks import streams
from tests.benchmarks.append import IN_FLIGHT
from tests.benchmarks.ground import Ground
from tests.benchmarks.report import Figure, Got, Result

_TABLES = ("upload_events", "uploads", "outbox")


async def run(ground: Ground) -> Result:
    rounds = ground.pick(quick=1, usual=3)
    runs = ground.pick(quick=500, usual=10_000)
    url, got = ground.database(), Got()
    with psycopg.connect(url, autocommit=True) as conn:
        for nth in range(rounds):
            ground.say(f"round {nth + 1} of {rounds}")
            conn.execute("VACUUM")
            conn.execute("CHECKPOINT")
            before, written = _bytes(conn), _written(conn)
            content = await _runs(url, runs)
            conn.execute("SELECT pg_stat_force_next_flush()")
            got.add(content=content / runs, log=(_written(conn) - written) / runs)
            got.add(**{name: (size - before[name]) / runs for name, size in _bytes(conn).items()})
            got.add(outbox_peak=_bytes(conn)["outbox"] / 2**20)
        hot, updates = conn.execute(
            "SELECT n_tup_hot_upd, n_tup_upd FROM pg_stat_user_tables WHERE relname = 'uploads'"
        ).fetchone()
    beside = {"floor": "the events' JSON", "floor_rounds": got["content"]}
    return Result(
        name="disk",
        about=f"bytes of one run in {streams.COMPLETED} events and 7 appends, {IN_FLIGHT} runs at a time",
        settings={"runs a round": f"{runs:,}", "rounds": str(rounds), "before each round": "VACUUM, CHECKPOINT"},
        figures=[
            Figure(name="events", unit="bytes", rounds=got["upload_events"], **beside),
            Figure(name="their indexes", unit="bytes", rounds=got["upload_events_indexes"], **beside),
            Figure(name="read model", unit="bytes", rounds=got["uploads"], **beside),
            Figure(name="its indexes", unit="bytes", rounds=got["uploads_indexes"], **beside),
            Figure(name="write-ahead log", unit="bytes", rounds=got["log"], **beside),
            Figure(name="outbox with its indexes, after all rows are settled", unit="MiB", rounds=got["outbox_peak"]),
            Figure(name="updates of the read model that leave its indexes alone", unit="%",
                   rounds=[100 * hot / updates]),
        ],
    )  # fmt: skip


async def _runs(url: str, number: int) -> int:
    """Append whole runs, event by event as the stages do, and settle their rows; return the bytes of their events."""
    application = UploadsApplication(url)
    commits = GroupCommit(application, on_committed=lambda rows: commits.remove_published([row.key for row in rows]))
    commits.start()
    waiting, content = iter(range(number)), 0

    async def keep_running() -> None:
        nonlocal content
        for _ in waiting:
            events = streams.stream(uuid_utils.compat.uuid7(), dt.datetime.now(dt.UTC), streams.COMPLETED)
            content += sum(len(encode(event)) for event in events)
            for together in (*([event] for event in events[:-2]), events[-2:]):
                await commits.append(together, [row for event in together for row in rows_for(event)])

    await asyncio.gather(*(keep_running() for _ in range(IN_FLIGHT)))
    await commits.close()
    application.close()
    return content


def _bytes(conn: psycopg.Connection) -> dict[str, int]:
    """Return the size of each table and of its indexes; the outbox's in one."""
    sizes = {}
    for table in _TABLES:
        heap, indexes = conn.execute("SELECT pg_table_size(%s), pg_indexes_size(%s)", (table, table)).fetchone()
        sizes |= {table: heap + indexes} if table == "outbox" else {table: heap, f"{table}_indexes": indexes}
    return sizes


def _written(conn: psycopg.Connection) -> int:
    return int(conn.execute("SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')").fetchone()[0])
