"""Work that kills its process (SIGKILL) at the n-th step: before and after every await of a port, and within writes.

`python -m tests.attacks.mortal SCENARIO` reads uploads as JSON from its input, and does the scenario to one after the
other, each in a child process: the first dies at step 1, the second at step 2, and so on until one lives to the end.
It says where each died, one a line, and `alive` at the end. Forked, because a start costs a second.
"""

import asyncio
import contextlib
import inspect
import json
import os
import signal
import sys
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any
from uuid import UUID

import httpx

from services.gateway import app as gateway_app
from shared.bootstrap import Runtime, embedded_runtime
from shared.operations import erase as erasing
from shared.operations.context import operator_context
from shared.operations.erase import erase_upload
from shared.read_model.changes import ChangeListener
from shared.settings import load
from shared.storage.directory import ObjectDirectory


class Life:
    """Counts steps and ends the process at the one that was named."""

    def __init__(self, last: int, say: Callable[[str], None]) -> None:
        self._left = last
        self._say = say

    def step(self, where: str) -> None:
        self._left -= 1
        if self._left == 0:
            self._say(where)
            os.kill(os.getpid(), signal.SIGKILL)


class Mortal:
    """A port whose every call may be the process's last."""

    def __init__(self, port: Any, life: Life) -> None:
        self._port, self._life = port, life

    def __getattr__(self, name: str) -> Any:
        attribute = getattr(self._port, name)
        if not callable(attribute):
            return attribute
        where = f"{type(self._port).__name__}.{name}"

        def call(*args: Any, **kwargs: Any) -> Any:
            result = attribute(*args, **kwargs)
            if inspect.isawaitable(result):
                return self._around(result, where)
            return self._through(result, where) if hasattr(result, "__aiter__") else result

        return call

    async def _around(self, awaited: Awaitable[Any], where: str) -> Any:
        self._life.step(f"before {where}")
        result = await awaited
        self._life.step(f"after {where}")
        return result

    async def _through(self, items: AsyncIterator[Any], where: str) -> AsyncIterator[Any]:
        self._life.step(f"before {where}")
        async for item in items:
            self._life.step(f"in {where}")
            yield item


def _die_in_writes(life: Life) -> None:
    """Also between the bytes and the link that makes them an object."""
    write, link = ObjectDirectory._write_blob, ObjectDirectory._swing_link

    def mortal_write(*args: Any) -> Any:
        blob = write(*args)
        life.step("after the bytes")
        return blob

    def mortal_link(*args: Any) -> Any:
        replaced = link(*args)
        life.step("after the link")
        return replaced

    ObjectDirectory._write_blob, ObjectDirectory._swing_link = mortal_write, mortal_link  # type: ignore[method-assign]


@contextlib.asynccontextmanager
async def a_runtime() -> AsyncIterator[Runtime]:
    runtime = embedded_runtime(load(os.environ), public_url="http://127.0.0.1:1")
    runtime.commits.start()
    await runtime.pool.open()
    yield runtime


@contextlib.asynccontextmanager
async def a_client(life: Life) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the gateway's application, whose parts are all mortal."""
    async with a_runtime() as runtime:
        for part in ("objects", "store", "cpu"):
            setattr(runtime, part, Mortal(getattr(runtime, part), life))
        for kind in ("PendingUploads", "UploadQueries"):
            made = getattr(gateway_app, kind)
            setattr(gateway_app, kind, lambda pool, made=made: Mortal(made(pool), life))
        gateway = gateway_app.create_app(runtime, ChangeListener(runtime.settings.database.database_url))

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await gateway({**scope, "state": {}}, receive, send)  # which a server adds

        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://gateway") as client:
            yield client


async def complete(upload: dict[str, str], life: Life) -> None:
    async with a_client(life) as client:
        path = f"/api/uploads/{upload['id']}/complete"
        (await client.post(path, headers={"X-Session-Token": upload["token"]})).raise_for_status()


async def create(upload: dict[str, str], life: Life) -> None:
    async with a_client(life) as client:
        files = {"image": ("photo.jpg", bytes.fromhex(upload["photo"]))}
        (await client.post("/api/uploads", files=files, data={"email": upload["email"]})).raise_for_status()


async def erase(upload: dict[str, str], life: Life) -> None:
    async with a_runtime() as runtime:
        context = operator_context(runtime.pool, runtime.store)
        mortal: Any = type(
            "OperatorContext", (), {name: Mortal(getattr(context, name), life) for name in context.__struct_fields__}
        )
        cleaner = erasing.ObjectCleaner
        erasing.ObjectCleaner = lambda *parts: Mortal(cleaner(*parts), life)  # type: ignore[misc,assignment]
        await erase_upload(mortal, Mortal(runtime.objects, life), UUID(upload["id"]), by="ann", reason="asked")


SCENARIOS = {"complete": complete, "create": create, "erase": erase}


def _say(text: str) -> None:
    os.write(1, f"{text}\n".encode())


async def _live(scenario: str, upload: dict[str, str], life: Life) -> None:
    """Do a scenario and end the process, in whatever state it is: tasks of its parts run for ever."""
    _die_in_writes(life)
    try:
        async with asyncio.timeout(20):
            await SCENARIOS[scenario](upload, life)
    except BaseException:  # noqa: BLE001 — nobody is left to raise it to
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def main(scenario: str) -> None:
    for last, upload in enumerate(json.load(sys.stdin), start=1):
        child = os.fork()
        if child == 0:
            asyncio.run(_live(scenario, upload, Life(last, _say)))
        _, status = os.waitpid(child, 0)
        if status == 0:
            _say("alive")
            return
        if os.WTERMSIG(status) != signal.SIGKILL:
            sys.exit(f"it ended with {status}")


if __name__ == "__main__":
    main(sys.argv[1])
