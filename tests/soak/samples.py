"""What the processes of a stack hold, and whether it has grown."""

import dataclasses
import re
import statistics
from collections.abc import Sequence
from pathlib import Path

import httpx
import psutil

from tests.stack import Stack

MIB = 1024 * 1024
MARGIN = {"rss": 20.0, "descriptors": 8.0, "threads": 4.0, "tasks": 8.0, "files": 0.0}
"""What a figure may be larger at the end; a process's memory besides by a tenth."""


@dataclasses.dataclass(frozen=True)
class Sample:
    """What one process holds: MiB, and numbers of all else."""

    rss: float
    descriptors: float
    threads: float
    tasks: float
    files: float


def sample(stack: Stack, ports: dict[str, int]) -> dict[str, Sample]:
    """Look at every process of the stack once. `ports` says where each shows its metrics."""
    files = len(list(Path(stack.env["TMPDIR"]).glob("darkroom-*")))
    found = {}
    for name, process in stack.processes.items():
        shown = psutil.Process(process.pid)
        metrics = httpx.get(f"http://127.0.0.1:{ports[name]}/metrics", timeout=10).text
        tasks = re.search(r"^darkroom_asyncio_tasks ([\d.]+)", metrics, re.MULTILINE)
        assert tasks is not None, name
        rss = shown.memory_info().rss / MIB
        found[name] = Sample(rss, shown.num_fds(), shown.num_threads(), float(tasks[1]), files)
    return found


def median(samples: Sequence[Sample]) -> Sample:
    """Return the median of each figure."""
    columns = zip(*(dataclasses.astuple(each) for each in samples), strict=True)
    return Sample(*(statistics.median(column) for column in columns))


def grown(before: Sample, after: Sample) -> list[str]:
    """Name the figures that have grown by more than their margin."""
    found = []
    for figure, margin in MARGIN.items():
        was, now = getattr(before, figure), getattr(after, figure)
        if now > was + margin + (was / 10 if figure == "rss" else 0):
            found.append(f"{figure} {was:.0f} → {now:.0f}")
    return found
