"""What an open stream costs: memory of one gateway process, and transactions of the database while nothing happens.

python -m tests.integration.gateway.measure_streams [STREAMS]
"""

import asyncio
import contextlib
import resource
import sys
import tempfile
import time
from pathlib import Path

import psutil
import psycopg

from shared.database.migrate import migrate
from tests.integration.gateway.gateways import a_gateway
from tests.integration.gateway.runs import Run
from tests.servers import open_postgres

QUIET = 40.0
"""Seconds of watching the database while nothing happens: past each stream's heartbeats and the process's looks."""

FLUSH = 15.0
"""Seconds after which PostgreSQL has counted what an idle connection did before."""


def say(text):
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def transactions(conn):
    return conn.execute("SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()").fetchone()[0]


async def opened(gateway, upload_id, token):
    """Open a stream and read it up to the event of the start."""
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    request = f"GET /api/status/{upload_id}/events HTTP/1.1\r\nHost: x\r\nX-Session-Token: {token}\r\n\r\n"
    writer.write(request.encode())
    await reader.readuntil(b"id: 2\n")
    return reader, writer


async def measure(gateway, streams):
    process = psutil.Process(gateway.stack.processes["gateway"].pid)
    uploads = [gateway.upload() for _ in range(streams)]
    for upload in uploads:
        gateway.client.start(*upload)
    with psycopg.connect(gateway.stack.database_url, autocommit=True) as conn:
        before = process.memory_info().rss
        began = time.perf_counter()
        ends = []
        for first in range(0, streams, 50):
            ends += await asyncio.gather(*(opened(gateway, *upload) for upload in uploads[first : first + 50]))
        say(f"{streams} streams opened in {time.perf_counter() - began:.1f} s")
        after = process.memory_info().rss
        say(f"memory: {before / 1e6:.1f} MB before, {after / 1e6:.1f} MB with them: "
            f"{(after - before) / streams / 1024:.1f} KiB a stream")  # fmt: skip
        await asyncio.sleep(FLUSH)
        idle, cpu = transactions(conn), sum(process.cpu_times()[:2])
        await asyncio.sleep(QUIET)
        say(f"{QUIET:.0f} s of silence: {transactions(conn) - idle} transactions, "
            f"{(sum(process.cpu_times()[:2]) - cpu) / QUIET:.1%} of a core")  # fmt: skip
        run_id = gateway.client.status(*uploads[0])["workflowRunId"]
        with contextlib.closing(Run(gateway.stack.database_url, uploads[0][0], run_id)) as run:
            began = time.perf_counter()
            run.validated()
            committed = time.perf_counter()
            await ends[0][0].readuntil(b"id: 3\n")
            say(f"a change: committed in {(committed - began) * 1000:.1f} ms, "
                f"at its client {(time.perf_counter() - committed) * 1000:.1f} ms later")  # fmt: skip
        for _, writer in ends:
            writer.close()


def main(streams):
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 20_000), hard))
    with contextlib.closing(open_postgres()) as postgres, tempfile.TemporaryDirectory() as folder:
        url = postgres.create_database()
        migrate(url)
        with a_gateway(Path(folder) / "gateway", url) as gateway:
            asyncio.run(measure(gateway, streams))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000)
