import asyncio
import contextvars
import threading

import pytest

from services.watermarker.watermark import stamp
from shared.imaging import CpuBusyError, CpuPool
from tests import photos

_run_id = contextvars.ContextVar("run_id", default="nobody")


@pytest.fixture
def let_go():
    """Work that waits for this event ends, at the latest, with the test."""
    event = threading.Event()
    yield event
    event.set()


@pytest.fixture
def pool():
    pool = CpuPool(running=1, waiting=1)
    yield pool
    pool.close()


async def started(pool, *work):
    tasks = [asyncio.create_task(pool.run(*w)) for w in work]
    await asyncio.sleep(0)
    return tasks


async def test_work_gives_its_result_and_raises_its_errors(pool):
    assert await pool.run(divmod, 7, 2) == (3, 1)
    with pytest.raises(ZeroDivisionError):
        await pool.run(divmod, 7, 0)


async def test_beyond_running_and_waiting_work_is_refused(pool, let_go):
    tasks = await started(pool, (let_go.wait,), (let_go.wait,))
    with pytest.raises(CpuBusyError, match="1 running, 1 waiting"):
        await pool.run(divmod, 7, 2)
    let_go.set()
    assert await asyncio.gather(*tasks) == [True, True]
    assert await pool.run(divmod, 7, 2) == (3, 1)


async def test_work_that_failed_leaves_its_place(pool):
    for _ in range(5):
        with pytest.raises(ZeroDivisionError):
            await pool.run(divmod, 7, 0)


async def test_waiting_work_that_is_cancelled_never_begins_and_leaves_its_place(pool, let_go):
    done = []
    running, waiting = await started(pool, (let_go.wait,), (done.append, "waiting"))
    waiting.cancel()
    await asyncio.wait([waiting])
    (instead,) = await started(pool, (done.append, "instead"))
    let_go.set()
    await asyncio.gather(running, instead)
    assert done == ["instead"]


async def test_running_work_that_is_cancelled_keeps_its_place_until_it_ends(pool, let_go):
    begun = threading.Event()

    def work():
        begun.set()
        let_go.wait()

    (running,) = await started(pool, (work,))
    await asyncio.to_thread(begun.wait)
    running.cancel()
    await asyncio.wait([running])
    (waiting,) = await started(pool, (divmod, 7, 2))
    with pytest.raises(CpuBusyError):
        await pool.run(divmod, 7, 2)
    let_go.set()
    assert await waiting == (3, 1)


async def test_never_more_than_allowed_run_at_the_same_time():
    pool = CpuPool(running=2, waiting=20)
    together, most = threading.Semaphore(2), []

    def work():
        most.append(together.acquire(blocking=False))
        stamp(photos.a_jpeg())
        together.release()

    await asyncio.gather(*(pool.run(work) for _ in range(20)))
    assert most == [True] * 20
    pool.close()


async def test_work_is_done_in_its_callers_context(pool):
    _run_id.set("run 1")
    assert await pool.run(_run_id.get) == "run 1"


async def test_a_closed_pool_takes_no_work_and_drops_what_waits(pool, let_go):
    running, waiting = await started(pool, (let_go.wait,), (divmod, 7, 2))
    pool.close()
    await asyncio.wait([waiting])
    assert waiting.cancelled()
    let_go.set()
    assert await running
    with pytest.raises(CpuBusyError, match="closed"):
        await pool.run(divmod, 7, 2)


async def test_the_event_loop_goes_on_while_a_large_photo_is_worked_on(pool):
    photo = photos.a_24_megapixel_jpeg()
    stamping = asyncio.create_task(pool.run(stamp, photo))
    ticks = 0
    while not stamping.done():
        await asyncio.sleep(0.001)
        ticks += 1
    assert (await stamping).width == 1600
    # Some 100 here. With the lock held, or in the loop's own thread, it would be one or two.
    assert ticks > 10
