"""From the start of a process to its being of use: every service, and `darkroom dev` to its first finished photo."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import aio_pika
from aio_pika.exceptions import ChannelClosed

from shared.upload.saga import ANALYTICS_QUEUE, STAGE_OF_QUEUE
from tests.benchmarks.bare import consumer
from tests.benchmarks.ground import Ground
from tests.benchmarks.processes import ROOT, answers, await_broker, await_services, program
from tests.benchmarks.report import Figure, Got, Result
from tests.photos import a_jpeg
from tests.servers import free_port
from tests.stack import Client, Stack, eventually

_PATIENCE = 60.0
_EVERY = 0.005


async def run(ground: Ground) -> Result:
    rounds = ground.pick(quick=1, usual=3)
    url, vhost = ground.database(), ground.rabbit.create_vhost()
    got = Got()
    with Stack(ground.folder("declare"), url, vhost) as stack:
        await_services(stack, "dispatcher")  # declares the queues
    async with await aio_pika.connect(vhost) as connection:
        for nth in range(rounds):
            ground.say(f"round {nth + 1} of {rounds}")
            got.add(**await _floors(vhost, connection))
            with Stack(ground.folder("coldstart"), url, vhost) as stack:
                await _services(stack, connection, got)
    ground.rabbit.delete_vhost(vhost)
    for _ in range(rounds):
        data = ground.folder("dev") / "data"
        for kind in ("first", "again"):
            ground.say(f"darkroom dev, {kind}")
            await asyncio.to_thread(_dev, data, got, kind)
    stage = {"floor": "bare FastStream consumer", "floor_rounds": got["bare consumer"]}
    http = {"floor": "bare Litestar on granian", "floor_rounds": got["bare http"]}
    named = dict.fromkeys((*STAGE_OF_QUEUE, ANALYTICS_QUEUE, "dispatcher"), stage) | {"gateway": http}
    figures = [Figure(name=f"{name} ready", unit="ms", rounds=got[name], **floor) for name, floor in named.items()]
    figures += [
        Figure(name="gateway connected to the broker", unit="ms", rounds=got["gateway broker"], **http),
        Figure(name="darkroom dev in an empty folder, page answers", unit="ms", rounds=got["first page"]),
        Figure(name="darkroom dev in an empty folder, first photo completed", unit="ms", rounds=got["first done"]),
        Figure(name="darkroom dev again, page answers", unit="ms", rounds=got["again page"]),
        Figure(name="darkroom dev again, first photo completed", unit="ms", rounds=got["again done"]),
    ]
    return Result(
        name="coldstart",
        about="from the start of the process: the gateway to /health/ready, a stage to its place at its queue",
        settings={"rounds": str(rounds), "one at a time": "yes", "photo": "1600 by 1200 pixels"},
        figures=figures,
    )


async def _services(stack: Stack, connection: aio_pika.abc.AbstractConnection, got: Got) -> None:
    for name in (*STAGE_OF_QUEUE, ANALYTICS_QUEUE):
        began = time.perf_counter()
        stack.start(name)
        got.add(**{name: await _consumed(connection, name, began)})
        stack.kill(name)
    began = time.perf_counter()
    stack.start("dispatcher")
    await asyncio.to_thread(await_broker, stack)
    got.add(dispatcher=(time.perf_counter() - began) * 1000)
    stack.kill("dispatcher")
    began = time.perf_counter()
    stack.start("gateway")
    await asyncio.to_thread(eventually, lambda: answers(stack.port), within=_PATIENCE, every=_EVERY)
    got.add(gateway=(time.perf_counter() - began) * 1000)
    await asyncio.to_thread(await_broker, stack)
    got.add(**{"gateway broker": (time.perf_counter() - began) * 1000})
    stack.kill("gateway")


async def _floors(vhost: str, connection: aio_pika.abc.AbstractConnection) -> dict[str, float]:
    port, began = free_port(), time.perf_counter()
    with program("tests.benchmarks.bare.http", str(port)):
        await asyncio.to_thread(eventually, lambda: answers(port), within=_PATIENCE, every=_EVERY)
        http = (time.perf_counter() - began) * 1000
    began = time.perf_counter()
    with program("tests.benchmarks.bare.consumer", vhost):
        stage = await _consumed(connection, consumer.QUEUE, began)
    return {"bare http": http, "bare consumer": stage}


async def _consumed(connection: aio_pika.abc.AbstractConnection, queue: str, began: float) -> float:
    """Wait until somebody consumes from a queue; return the milliseconds since `began`."""
    async with asyncio.timeout(_PATIENCE):
        channel = await connection.channel()
        while True:
            if channel.is_closed:
                channel = await connection.channel()
            with suppress(ChannelClosed):  # which is how the broker says that there is no such queue yet
                seen = await channel.declare_queue(queue, passive=True)
                if seen.declaration_result.consumer_count:
                    await channel.close()
                    return (time.perf_counter() - began) * 1000
            await asyncio.sleep(_EVERY)


def _dev(data: Path, got: Got, kind: str) -> None:
    port, image = free_port(), a_jpeg(1600, 1200)
    env = {"PORT": str(port), "PYTHONPATH": str(ROOT), "PATH": os.environ["PATH"]}
    said = data.with_suffix(".log")
    began = time.perf_counter()
    with said.open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "services.cli.main", "dev", "--data", str(data)], env=env, stdout=log, stderr=log
        )
    try:
        eventually(lambda: answers(port), within=_PATIENCE, every=_EVERY, or_show=said.read_text)
        got.add(**{f"{kind} page": (time.perf_counter() - began) * 1000})
        client = Client(f"http://127.0.0.1:{port}")
        upload_id, token = client.upload(image)
        client.start(upload_id, token).raise_for_status()
        eventually(lambda: client.status(upload_id, token)["status"] == "completed", within=_PATIENCE, every=_EVERY)
        got.add(**{f"{kind} done": (time.perf_counter() - began) * 1000})
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(_PATIENCE)
