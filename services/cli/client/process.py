"""`darkroom process`: photos in, watermarked previews out, over the same HTTP interface that every client uses."""

import asyncio
import contextlib
import mimetypes
import socket
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import httpx
from msgspec.structs import replace
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

from contracts.events import Stage
from services.cli.processes.dev import embedded_product
from shared.settings import Settings
from shared.upload.saga import STAGES

POLL = 0.2
"""Seconds between looks at the status."""
PATIENCE = 30.0
"""Seconds of an unreachable gateway before we give up on it."""


class ProcessError(Exception):
    """A photo could not be processed; the message is for the person at the terminal."""


async def process(
    images: Sequence[Path], *, email: str, url: str | None, out: Path, settings: Settings | None, data_dir: Path
) -> int:
    """Process photos side by side and save their previews in `out`. Returns the exit status: 1 where one failed."""
    await asyncio.to_thread(out.mkdir, parents=True, exist_ok=True)
    console = Console(stderr=True)
    async with (
        _gateway(url, settings, data_dir, console) as base,
        httpx.AsyncClient(base_url=base, timeout=60) as client,
    ):
        with _progress(console) as progress:
            ends = await asyncio.gather(
                *(_one(client, image, email, out, progress) for image in images), return_exceptions=True
            )
    for image, end in zip(images, ends, strict=True):
        if isinstance(end, Path):
            console.print(f"[green]✓[/] {image} → {end}", highlight=False)
        else:
            console.print(f"[red]✗[/] {image}: {_reason(end)}", highlight=False)
    return 0 if all(isinstance(end, Path) for end in ends) else 1


@contextlib.asynccontextmanager
async def _gateway(url: str | None, settings: Settings | None, data_dir: Path, console: Console) -> AsyncIterator[str]:
    """Return the URL of a gateway: the one that was named, or one of our own on a free port."""
    if url is not None or settings is None:
        yield url or ""
        return
    settings = replace(settings, process=replace(settings.process, host="127.0.0.1", port=_free_port()))
    with console.status("bringing darkroom up …"):
        stack = contextlib.AsyncExitStack()
        base = await stack.enter_async_context(embedded_product(settings, data_dir, stop=asyncio.Event()))
    async with stack:
        yield base


def _progress(console: Console) -> Progress:
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        TextColumn("{task.fields[note]}"),
        TimeElapsedColumn(),
        console=console,
    )


async def _one(client: httpx.AsyncClient, image: Path, email: str, out: Path, progress: Progress) -> Path:
    """Upload, start, follow and save one photo. Raises ProcessError with the reason where it fails."""
    bars = {stage: progress.add_task(f"{image.name} {stage}", total=100, start=False, note="") for stage in STAGES}
    content_type = mimetypes.guess_type(image.name)[0] or "application/octet-stream"
    photo = await asyncio.to_thread(image.read_bytes)
    created = _ok(
        await client.post("/api/uploads", files={"image": (image.name, photo, content_type)}, data={"email": email})
    )
    headers = {"X-Session-Token": created["sessionToken"]}
    _ok(await client.post("/api/process", json={"uploadId": created["uploadId"]}, headers=headers))
    status = await _followed(client, created["uploadId"], headers, bars, progress)
    if status["status"] == "failed":
        error = status["error"]
        raise ProcessError(f"{error['message']} ({error['code']} while {status['stage']})")
    preview = await client.get(status["previewUrl"])
    preview.raise_for_status()
    target = out / f"{image.stem}-preview.jpg"
    target.write_bytes(preview.content)
    return target


async def _followed(
    client: httpx.AsyncClient, job: str, headers: dict[str, str], bars: dict[Stage, TaskID], progress: Progress
) -> dict[str, Any]:
    """Poll until the run ends, moving the bars; a gateway that restarts meanwhile is waited for."""
    silent_since: float | None = None
    loop = asyncio.get_running_loop()
    while True:
        try:
            answer = await client.get(f"/api/status/{job}", headers=headers)
        except httpx.TransportError:
            silent_since = silent_since or loop.time()
            if loop.time() - silent_since > PATIENCE:
                raise ProcessError("the gateway cannot be reached any more") from None
        else:
            silent_since = None
            if not answer.is_server_error:
                status = _ok(answer)
                _show(status, bars, progress)
                if status["status"] in ("completed", "failed"):
                    return status
        await asyncio.sleep(POLL)


def _show(status: dict[str, Any], bars: dict[Stage, TaskID], progress: Progress) -> None:
    """Fill the bars of stages that are done, and set the one at work going."""
    now = status["stage"]
    for stage, bar in bars.items():
        task = progress.tasks[bar]
        if stage == now and status["status"] == "failed":
            progress.update(bar, note="[red]failed[/]")
            progress.stop_task(bar)
        elif stage == now:
            if task.start_time is None:
                progress.start_task(bar)
            progress.update(bar, total=None, note="working")
        elif now == Stage.COMPLETE or STAGES.index(stage) < STAGES.index(Stage(str(now))):
            if task.start_time is None:
                progress.start_task(bar)
            if not task.finished:
                progress.update(bar, total=100, completed=100, note="done")


def _ok(answer: httpx.Response) -> dict[str, Any]:
    """Return the body of a good answer. Raises ProcessError with what the gateway said where it is not one."""
    if answer.is_success:
        body: dict[str, Any] = answer.json()
        return body
    try:
        problem = answer.json()
        raise ProcessError(f"{problem['detail']} ({problem['code']})")
    except (ValueError, KeyError):
        raise ProcessError(f"the gateway answered {answer.status_code}") from None


def _reason(error: BaseException) -> str:
    return str(error) or type(error).__name__


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
