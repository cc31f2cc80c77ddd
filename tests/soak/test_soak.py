"""After 200 refused pictures every service holds what it held after the first: the short form of `just soak`.

Seen before: 40 completions of one announced 49 MB file took a gateway from 117 to 2,079 MiB, and 20 broken PNGs of
49 MB a validator from 204 to 1,191 MiB.
"""

import asyncio

import pytest

from tests.soak.__main__ import SIZE, soaking
from tests.soak.samples import grown, median, sample
from tests.soak.work import Rounds
from tests.stack import eventually

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

FIRST, LAST = 24, 200
"""Refused pictures and requests before the first look, and before the last. A round has six."""


async def test_what_every_service_holds_is_flat(tmp_path, database_url, amqp_url):
    async with soaking(database_url, amqp_url, tmp_path) as (stack, ports):
        rounds, looks = Rounds(stack, SIZE), []
        for wanted in (FIRST, LAST):
            while rounds.refused < wanted:
                await rounds.one()
            # A client that has left is noticed a moment later.
            await asyncio.to_thread(eventually, lambda: not list((tmp_path / "tmp").glob("darkroom-*")), within=30)
            looks.append([await asyncio.to_thread(sample, stack, ports) for _ in range(3)])

    first, last = ({name: median([look[name] for look in some]) for name in ports} for some in looks)
    assert {name: found for name in ports if (found := grown(first[name], last[name]))} == {}
