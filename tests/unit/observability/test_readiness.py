"""A part that goes away is said once, and so is one that is back."""

import asyncio
import contextlib

import pytest
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from shared.observability import readiness
from shared.observability.readiness import Readiness


class Part:
    """Something that can be away. `seen` counts the looks at it."""

    def __init__(self):
        self.away = False
        self.seen = 0

    async def check(self):
        self.seen += 1
        if self.away:
            raise OSError("away")

    async def looked_at(self, times):
        goal = self.seen + times
        async with asyncio.timeout(5):
            while self.seen < goal:
                await asyncio.sleep(0)


@contextlib.asynccontextmanager
async def watching(part):
    kept = Readiness()
    kept.watch("objects", part.check, every=0.001)
    task = asyncio.create_task(kept.run())
    try:
        yield kept
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@pytest.fixture(autouse=True)
def quickly(monkeypatch):
    monkeypatch.setattr(readiness, "AGAIN", 0.001)


def shown():
    return REGISTRY.get_sample_value("darkroom_up", {"part": "objects"})


async def test_a_process_is_not_ready_before_it_has_seen_what_it_needs():
    kept = Readiness()
    note = kept.need("broker", quiet=True)
    assert not kept.ready
    note(True)
    assert kept.ready


async def test_ready_turns_with_the_part_and_each_turn_is_logged_once():
    part = Part()
    with capture_logs() as lines:
        async with watching(part) as kept:
            await part.looked_at(2)
            assert (kept.ready, shown()) == (True, 1)
            part.away = True
            await part.looked_at(5)
            assert (kept.ready, shown(), kept.parts()) == (False, 0, {"objects": "away"})
            part.away = False
            await part.looked_at(5)
            assert (kept.ready, shown()) == (True, 1)
    assert [(line["event"], line["part"]) for line in lines] == [
        ("dependency_down", "objects"),
        ("dependency_up", "objects"),
    ]


async def test_a_part_that_is_away_from_the_start_is_said_to_be():
    part = Part()
    part.away = True
    with capture_logs() as lines:
        async with watching(part):
            await part.looked_at(3)
    assert [line["event"] for line in lines] == ["dependency_down"]


async def test_a_part_that_does_not_answer_counts_as_away(monkeypatch):
    monkeypatch.setattr(readiness, "CHECK_TIMEOUT", 0.01)
    part = Part()

    async def hang():
        part.seen += 1
        await asyncio.Event().wait()

    part.check = hang
    with capture_logs() as lines:
        async with watching(part) as kept:
            await part.looked_at(2)
            assert kept.parts() == {"objects": "away"}
    assert [line["event"] for line in lines] == ["dependency_down"]
