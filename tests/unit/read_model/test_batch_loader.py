"""Look-ups that share a query: what each sees, and that none suffers for another."""

import asyncio
import uuid

import pytest

from shared.read_model import batch_loader
from shared.read_model.batch_loader import BatchLoader

A, B, C = (uuid.UUID(int=number) for number in (1, 2, 3))


class Table:
    """Answers queries when the test says so, with what it holds at that moment."""

    def __init__(self, **rows):
        self.rows = rows
        self.queries = []

    async def query(self, upload_ids):
        answer = asyncio.get_running_loop().create_future()
        self.queries.append((upload_ids, answer))
        return await answer

    def answer(self, nth, rows):
        self.queries[nth][1].set_result(rows)

    def asked(self):
        return [upload_ids for upload_ids, _ in self.queries]


@pytest.fixture
def table():
    return Table()


async def settle():
    """Let everything run that can."""
    for _ in range(5):
        await asyncio.sleep(0)


async def test_who_comes_while_a_query_is_under_way_waits_for_the_next_one_with_all_others(table):
    reads = BatchLoader(table.query)
    first = reads.get(A)
    await settle()
    others = [reads.get(upload_id) for upload_id in (A, B, C, B)]
    await settle()
    assert table.asked() == [[A]]
    table.answer(0, {A: "old"})
    await settle()
    assert table.asked() == [[A], [A, B, C]]
    table.answer(1, {A: "new", B: "b"})
    assert [await first, *[await other for other in others]] == ["old", "new", "b", None, "b"]


async def test_a_query_under_way_when_a_look_up_comes_never_answers_it(table):
    """It may have looked before the commit that the reader knows of."""
    reads = BatchLoader(table.query)
    reads.get(A)
    await settle()
    late = reads.get(A)
    table.answer(0, {A: 1})
    await settle()
    assert not late.done()
    table.answer(1, {A: 2})
    assert await late == 2


async def test_who_gives_up_does_not_disturb_the_others(table):
    reads = BatchLoader(table.query)
    gone, stays = reads.get(A), reads.get(A)
    reads.get(B).cancel()
    gone.cancel()
    await settle()
    table.answer(0, {A: "a"})
    await settle()
    table.answer(1, {A: "a"})
    assert await stays == "a"


async def test_a_query_that_fails_fails_for_those_who_share_it_and_nobody_else(table):
    reads = BatchLoader(table.query)
    first = reads.get(A)
    await settle()
    both = reads.get(A), reads.get(B)
    table.queries[0][1].set_exception(OSError("hung up"))
    with pytest.raises(OSError, match="hung up"):
        await first
    await settle()
    table.answer(1, {A: 1, B: 2})
    assert [await each for each in both] == [1, 2]


async def test_a_query_that_hangs_holds_up_those_who_come_later_only_for_a_moment_and_is_ended(table, monkeypatch):
    monkeypatch.setattr(batch_loader, "LATE", 0.02)
    monkeypatch.setattr(batch_loader, "LIMIT", 0.2)
    reads = BatchLoader(table.query)
    hangs = reads.get(A)
    await settle()
    later = reads.get(B)
    async with asyncio.timeout(5):
        while len(table.queries) < 2:
            await asyncio.sleep(0.005)
        table.answer(1, {B: 2})
        assert await later == 2
        with pytest.raises(TimeoutError):
            await hangs
    assert table.queries[0][1].cancelled()


async def test_a_late_answer_is_still_an_answer(table, monkeypatch):
    monkeypatch.setattr(batch_loader, "LATE", 0.01)
    reads = BatchLoader(table.query)
    slow = reads.get(A)
    await asyncio.sleep(0.05)
    reads.get(B)
    await settle()
    table.answer(0, {A: 1})
    assert await slow == 1
    assert table.asked() == [[A], [B]]
