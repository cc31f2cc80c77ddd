"""How long a body may take to come in, by a clock that runs as fast as the test."""

import asyncio
import contextlib

import pytest

from services.gateway.middleware.slow_clients import CREDIT, FIRST_BYTES, PACE, MinimumRateBody, SlowClientError

LIMIT = 600.0
HEADERS = [(b"content-length", b"1")]
MEGABYTE = 1_000_000


class SkippingLoop(asyncio.SelectorEventLoop):
    """An event loop whose clock jumps to the next timer."""

    def __init__(self):
        super().__init__()
        self.clock = 0.0
        look = self._selector.select

        def select(seconds):
            self.clock += seconds or 0
            return look(0)

        self._selector.select = select

    def time(self):
        return self.clock


def let_go_after(*sent, limit=LIMIT):
    """Send (seconds of silence, bytes) one after the other, and then nothing; give when the client was let go."""

    async def receive_all():
        pieces = iter(sent)

        async def receive():
            silence, size = next(pieces, (10_000, 0))
            await asyncio.sleep(silence)
            return {"type": "http.request", "body": bytes(size), "more_body": True}

        body = MinimumRateBody({"headers": HEADERS, "state": {}}, receive, limit)
        with contextlib.suppress(SlowClientError):
            while True:
                await body.receive()
        return asyncio.get_running_loop().time()

    with asyncio.Runner(loop_factory=SkippingLoop) as runner:
        return runner.run(receive_all())


def test_a_telephone_at_256_kbit_a_second_may_send_eight_megabytes_however_its_line_falters():
    second = 32_000
    steady = [(1, second)] * 250
    in_bursts = [(10, 10 * second)] * 25
    assert let_go_after(*steady) > 250
    assert let_go_after(*in_bursts) > 250


def test_a_client_that_sends_nothing_is_let_go():
    assert let_go_after() == FIRST_BYTES


def test_a_client_that_sent_fast_and_stops_is_let_go_as_soon_as_any_other():
    assert let_go_after((0, 49 * MEGABYTE)) == pytest.approx(CREDIT, abs=1)


def test_a_trickle_is_let_go_although_it_never_stops():
    assert let_go_after(*[(CREDIT - 1, 1)] * 1000) < 2 * CREDIT
    assert let_go_after((0, 40 * MEGABYTE), *[(1, 1000)] * 1000) < 2 * CREDIT


def test_no_body_takes_longer_than_the_limit():
    assert let_go_after(*[(1, 2 * PACE)] * 10_000) == pytest.approx(LIMIT, abs=1)
    assert let_go_after(limit=5) == 5
