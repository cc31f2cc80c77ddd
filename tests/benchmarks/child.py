"""One piece of work in a fresh process, its seconds, those of processors, and its peak memory as JSON.

A script; arguments: WORK ARGUMENT.

The peak is what the work adds to what its imports take. With a third argument, `again`, the seconds are those of a
second time: a service goes on, and what it does once for all its pictures is not a picture's cost.
"""

import io
import json
import resource
import sys
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

_LONGEST_SIDE = 1600


def rebuild(url: str) -> Callable[[], object]:
    work = import_module("shared.read_model.rebuild").rebuild
    return lambda: {"uploads": work(url).uploads}


def scan(url: str) -> Callable[[], object]:
    """Read and decode every event in stream order, and do nothing with it."""
    import psycopg  # noqa: PLC0415 — each kind of work imports only its own

    from contracts.events import decode  # noqa: PLC0415

    def work() -> None:
        with psycopg.connect(url) as conn, conn.cursor(name="scan", binary=True) as curs:
            curs.itersize = 5_000
            curs.execute("SELECT state FROM upload_events ORDER BY originator_id, originator_version")
            for (state,) in curs:
                decode(state)

    return work


def header(path: str) -> Callable[[], object]:
    read_header = import_module("shared.imaging").read_header
    return lambda: read_header(Path(path)) and None


def on_bytes(module: str, name: str) -> Callable[[str], Callable[[], object]]:
    """Return a stage's pure work over a file's bytes."""

    def prepare(path: str) -> Callable[[], object]:
        work, data = getattr(import_module(module), name), Path(path).read_bytes()
        return lambda: work(data) and None

    return prepare


def pillow_decode(path: str, *, draft: bool = False) -> Callable[[], object]:
    from PIL import Image  # noqa: PLC0415

    data = Path(path).read_bytes()

    def work() -> None:
        with Image.open(io.BytesIO(data)) as image:
            if draft:
                image.draft("RGB", (image.width // 8, image.height // 8))
            image.load()

    return work


def pillow_mark(path: str, *, draft: bool = False) -> Callable[[], object]:
    """Do as the watermarker does: shrink, lay a mark over all of it, encode."""
    from PIL import Image, ImageDraw  # noqa: PLC0415

    data = Path(path).read_bytes()

    def work() -> None:
        with Image.open(io.BytesIO(data)) as image:
            if draft:
                image.draft("RGB", (_LONGEST_SIDE, _LONGEST_SIDE))
            image.thumbnail((_LONGEST_SIDE, _LONGEST_SIDE))
            small = image.convert("RGBA")
        mark = Image.new("RGBA", small.size)
        draw = ImageDraw.Draw(mark)
        for y in range(0, small.height, 120):
            for x in range(0, small.width, 240):
                draw.text((x, y), "darkroom preview", fill=(255, 255, 255, 150))
        Image.alpha_composite(small, mark).convert("RGB").save(io.BytesIO(), "JPEG", quality=82, optimize=True)

    return work


WORKS: dict[str, Callable[[str], Callable[[], object]]] = {
    "rebuild": rebuild,
    "scan": scan,
    "header": header,
    "validate": on_bytes("services.validator.checks", "check"),
    "prepare": on_bytes("services.generator.prepare", "prepare"),
    "draw": on_bytes("services.generator.local", "draw"),
    "watermark": on_bytes("services.watermarker.watermark", "stamp"),
    "pillow-decode": pillow_decode,
    "pillow-decode-draft": lambda path: pillow_decode(path, draft=True),
    "pillow-mark": pillow_mark,
    "pillow-mark-draft": lambda path: pillow_mark(path, draft=True),
}


def peak_bytes() -> int:
    """Return the most memory this process has held. Not by getrusage on Linux, where it counts the parent's too."""
    status = Path("/proc/self/status")
    if status.exists():
        (line,) = (line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


if __name__ == "__main__":
    prepared = WORKS[sys.argv[1]](sys.argv[2])
    before, spent, began = peak_bytes(), time.process_time(), time.perf_counter()
    prepared()
    peak = peak_bytes() - before
    if sys.argv[3:] == ["again"]:
        spent, began = time.process_time(), time.perf_counter()
        prepared()
    took = {"seconds": time.perf_counter() - began, "cpu": time.process_time() - spent}
    print(json.dumps({**took, "peak": peak}))  # noqa: T201
