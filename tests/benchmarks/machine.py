"""What the figures hang on: the machine, the versions, the servers' settings, and how fast Python is this minute."""

import asyncio
import os
import platform
import statistics
import time
from importlib.metadata import version

import aio_pika
import psutil
import psycopg

_LIBRARIES = (
    "aio-pika", "eventsourcing", "faststream", "granian", "litestar", "msgspec", "pillow", "psycopg", "pyvips-binary",
    "uvloop",
)  # fmt: skip
_TURNS = 200_000


def calibration() -> float:
    """Return the nanoseconds of one turn of a loop that never changes: the median of seven goes."""
    return statistics.median(_turn() for _ in range(7))


def _turn() -> float:
    began, total = time.perf_counter_ns(), 0
    for number in range(_TURNS):
        total += number & 7
    return (time.perf_counter_ns() - began) / _TURNS


def load() -> float:
    return os.getloadavg()[0]


def machine() -> dict[str, str]:
    return {
        "cores": str(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()),
        "RAM": f"{psutil.virtual_memory().total / 2**30:.0f} GiB",
        "kernel": f"{platform.system()} {platform.release()}",
        "processor": _processor(),
    }


def versions() -> dict[str, str]:
    return {"Python": platform.python_version()} | {name: version(name) for name in _LIBRARIES}


def postgres_settings(url: str) -> dict[str, str]:
    with psycopg.connect(url) as conn:
        names = ("server_version", "fsync", "synchronous_commit", "shared_buffers")
        shown = {name: conn.execute(f"SHOW {name}").fetchone() for name in names}
    return {f"PostgreSQL {name}": row[0] for name, row in shown.items()}


def _processor() -> str:
    if platform.system() == "Linux":
        with open("/proc/cpuinfo", encoding="utf-8") as file:  # noqa: PTH123 — no file of ours
            for line in file:
                if line.startswith("model name"):
                    return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def rabbit_version(url: str) -> str:
    async def ask() -> str:
        connection = await aio_pika.connect(url)
        async with connection:
            properties = connection.transport.connection.server_properties
            return str(properties["version"])

    return asyncio.run(ask())
