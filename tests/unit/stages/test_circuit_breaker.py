"""The breaker: what opens it, how many may try while it is open, and what closes it."""

import asyncio

import pytest

from shared.stages.circuit_breaker import CircuitBreaker

DOWN = frozenset({"DOWN"})


async def lets_through(breaker, callers=1, within=0.05):
    """Count how many of some callers get past the breaker within a time in seconds."""
    tasks = [asyncio.create_task(breaker.wait()) for _ in range(callers)]
    done, waiting = await asyncio.wait(tasks, timeout=within)
    for task in waiting:
        task.cancel()
    return len(done)


async def test_it_opens_at_the_threshold_and_not_before():
    breaker = CircuitBreaker(DOWN, threshold=3, pause=60)

    breaker.failed("DOWN")
    breaker.failed("DOWN")
    assert breaker.closed

    breaker.failed("DOWN")
    assert not breaker.closed
    assert await lets_through(breaker) == 0


async def test_failures_that_say_nothing_about_the_other_side_do_not_open_it():
    breaker = CircuitBreaker(DOWN, threshold=1, pause=60)

    for _ in range(9):
        breaker.failed("IMAGE_CORRUPT")

    assert breaker.closed


async def test_only_failures_in_a_row_count():
    breaker = CircuitBreaker(DOWN, threshold=2, pause=60)

    breaker.failed("DOWN")
    breaker.succeeded()
    breaker.failed("DOWN")

    assert breaker.closed


async def test_after_the_pause_one_try_is_let_through_and_no_second():
    breaker = CircuitBreaker(DOWN, threshold=1, pause=0.1)
    breaker.failed("DOWN")

    assert await lets_through(breaker, callers=5, within=0.17) == 1


async def test_a_try_that_succeeds_lets_everybody_through():
    breaker = CircuitBreaker(DOWN, threshold=1, pause=0.02)
    breaker.failed("DOWN")
    waiting = [asyncio.create_task(breaker.wait()) for _ in range(5)]
    await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)

    breaker.succeeded()

    await asyncio.wait_for(asyncio.gather(*waiting), 5)
    assert breaker.closed


async def test_who_waits_goes_on_at_once_when_a_try_succeeds_however_long_the_pause_has_become():
    breaker = CircuitBreaker(DOWN, threshold=1, pause=60)
    breaker.failed("DOWN")
    waiting = [asyncio.create_task(breaker.wait()) for _ in range(5)]
    await asyncio.sleep(0)

    breaker.succeeded()

    assert await asyncio.wait_for(asyncio.gather(*waiting), 5) == [False] * 5


async def test_a_try_that_asked_the_other_side_nothing_hands_its_turn_to_the_next():
    breaker = CircuitBreaker(DOWN, threshold=1, pause=0.02)
    breaker.failed("DOWN")
    breaker._pause = 60  # what the next would have to wait, were this taken for a failure
    turns = []

    async def find_nothing_due():
        assert await breaker.wait()
        turns.append(1)
        await asyncio.sleep(0)
        breaker.probe_ended()

    await asyncio.wait_for(asyncio.gather(*(find_nothing_due() for _ in range(5))), 5)
    assert len(turns) == 5
    assert not breaker.closed


async def test_a_try_that_goes_on_for_longer_than_the_pause_is_still_the_only_one():
    breaker = CircuitBreaker(DOWN, threshold=1, pause=0.02)
    breaker.failed("DOWN")
    assert await breaker.wait()

    assert await lets_through(breaker, callers=3, within=0.1) == 0


async def test_a_try_that_fails_doubles_the_pause_up_to_its_limit():
    breaker = CircuitBreaker(DOWN, threshold=1, pause=10, pause_max=25)
    loop = asyncio.get_running_loop()
    began, pauses = loop.time(), []
    breaker.failed("DOWN")
    for _ in range(4):
        pauses.append(round(breaker._open_until - began))
        breaker._open_until = began  # the pause is over
        assert await breaker.wait()
        breaker.failed("DOWN", probe=True)
        breaker.probe_ended()

    assert pauses == [10, 20, 25, 25]


async def test_failures_of_what_was_under_way_when_it_opened_make_the_pause_no_longer():
    breaker = CircuitBreaker(DOWN, threshold=2, pause=10)
    began = asyncio.get_running_loop().time()
    for _ in range(32):
        breaker.failed("DOWN")
    assert round(breaker._open_until - began) == 10

    breaker._open_until = began
    assert await breaker.wait()
    for _ in range(32):
        breaker.failed("DOWN")
    breaker.probe_ended()
    assert await asyncio.wait_for(breaker.wait(), 5)


async def test_it_says_once_that_it_opened_and_once_that_it_closed():
    said = []
    breaker = CircuitBreaker(DOWN, threshold=2, pause=60, on_state=said.append)

    for _ in range(5):
        breaker.failed("DOWN")
    breaker.succeeded()
    breaker.succeeded()

    assert said == [False, True]


@pytest.mark.parametrize("code", ["DOWN", "IMAGE_CORRUPT"])
async def test_without_codes_nothing_opens_it(code):
    breaker = CircuitBreaker(threshold=1)

    breaker.failed(code)

    assert breaker.closed
