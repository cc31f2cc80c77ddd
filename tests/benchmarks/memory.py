"""Resident memory of each service: idle, and at its most while photos are being processed."""

import asyncio
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress

import psutil

from tests.benchmarks.ground import Ground
from tests.benchmarks.processes import await_services, bare_consumer, bare_http
from tests.benchmarks.report import Figure, Result
from tests.photos import a_jpeg
from tests.stack import Client, Stack

SERVICES = ("gateway", "validator", "generator", "storer", "watermarker", "dispatcher", "analytics")
_SETTLE = 3.0
"""Seconds after which a service counts as idle."""
_EVERY = 0.05


async def run(ground: Ground) -> Result:
    photos = ground.pick(quick=2, usual=12)
    url, vhost = ground.database(), ground.rabbit.create_vhost()
    with (
        Stack(ground.folder("memory"), url, vhost) as stack,
        bare_http() as (_, bare_server),
        bare_consumer(vhost) as bare_stage,
    ):
        await_services(stack, *SERVICES)
        ground.say("idle")
        await asyncio.sleep(_SETTLE)
        pids = {name: process.pid for name, process in stack.processes.items()}
        idle = _resident(pids)
        bare = _resident({"gateway": bare_server.pid, "stage": bare_stage.pid})
        ground.say(f"{photos} photos")
        with _watched(pids) as busiest:
            await asyncio.to_thread(_load, stack.url, photos)
    ground.rabbit.delete_vhost(vhost)
    figures = []
    for name in SERVICES:
        floor = "bare Litestar on granian" if name == "gateway" else "bare FastStream consumer"
        value = bare["gateway" if name == "gateway" else "stage"]
        figures.append(Figure(name=f"{name}, idle", unit="MiB", rounds=[idle[name]], floor=floor, floor_rounds=[value]))
    figures += [Figure(name=f"{name}, at its most", unit="MiB", rounds=[busiest[name]]) for name in SERVICES]
    figures.append(Figure(name="all services, idle", unit="MiB", rounds=[sum(idle.values())]))
    return Result(
        name="memory",
        about="resident memory of each service as a process of its own",
        settings={"idle": f"{_SETTLE:.0f} s after the start", "load": f"{photos} 12-megapixel JPEGs at once"},
        figures=figures,
    )


def _resident(pids: Mapping[str, int]) -> dict[str, float]:
    return {name: psutil.Process(pid).memory_info().rss / 2**20 for name, pid in pids.items()}


@contextmanager
def _watched(pids: Mapping[str, int]) -> Iterator[dict[str, float]]:
    """Return what each process held at its most by the end of the context."""
    most, over = _resident(pids), threading.Event()

    def watch() -> None:
        while not over.wait(_EVERY):
            with suppress(psutil.NoSuchProcess):
                for name, now in _resident(pids).items():
                    most[name] = max(most[name], now)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield most
    finally:
        over.set()
        watcher.join()


def _load(url: str, photos: int) -> None:
    client, image = Client(url), a_jpeg(4000, 3000)
    begun = [client.upload(image) for _ in range(photos)]
    for upload_id, token in begun:
        client.start(upload_id, token).raise_for_status()
    until = time.monotonic() + 240
    for upload_id, token in begun:
        ended = client.finished(upload_id, token, within=max(1, until - time.monotonic()))
        if ended["status"] != "completed":
            raise RuntimeError(f"a run ended as {ended}")
