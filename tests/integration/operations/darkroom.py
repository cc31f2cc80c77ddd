"""The command line as a process of its own, beside the real stages in this one."""

import asyncio
import contextlib
import os
import pwd
import sys
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

from contracts.events import Event, ImageGenerated, ResultStored, UploadRegistered
from services.cli.processes.serve import attach
from shared.bootstrap import Runtime, embedded_runtime
from tests.integration.operations.failed_runs import running, settings_for
from tests.photos import a_jpeg, a_png

ROOT = Path(__file__).parents[3]


class Outcome:
    """How a command ended, and what it said."""

    def __init__(self, status: int, out: str, err: str) -> None:
        self.status = status
        self.out = out
        self.err = err

    def __repr__(self) -> str:
        return f"status {self.status}\n{self.out}\n{self.err}"


ACTOR = f"ann (as {pwd.getpwuid(os.getuid()).pw_name})"
"""Who is kept as having done what was done with `--by ann`."""


async def darkroom(*arguments: object, env: Mapping[str, str], cwd: Path = ROOT) -> Outcome:
    """Run a command to its end."""
    process = await start_darkroom(*arguments, env=env, cwd=cwd)
    out, err = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode is not None
    return Outcome(process.returncode, out.decode(), err.decode())


async def start_darkroom(*arguments: object, env: Mapping[str, str], cwd: Path = ROOT) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "services.cli.main",
        *map(str, arguments),
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **env},
        cwd=cwd,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


@contextlib.asynccontextmanager
async def product(database_url: str, folder: Path, gemini_url: str) -> AsyncIterator[Runtime]:
    """Run all real stages embedded, with Gemini at `gemini_url`."""
    key = {"GENERATOR": "gemini", "GEMINI_API_KEY": "k", "GEMINI_BASE_URL": gemini_url}
    runtime = embedded_runtime(settings_for(database_url, folder, **key), public_url="http://127.0.0.1:1")
    attach(runtime, ("validator", "generator", "storer", "watermarker"))
    async with running(runtime):
        yield runtime


async def put_pictures(runtime: Runtime, run: list[Event]) -> None:
    """Put the pictures where a run's events say that they lie."""
    for event in run:
        if isinstance(event, UploadRegistered):
            await runtime.objects.put(event.original_key, a_jpeg(), "image/jpeg")
        if isinstance(event, ImageGenerated):
            await runtime.objects.put(event.generated_key, a_png(), "image/png")
        if isinstance(event, ResultStored):
            await runtime.objects.put(event.result_key, a_png(), "image/png")
