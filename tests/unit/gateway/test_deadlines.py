"""How long a request waits for the database."""

import asyncio

import pytest
from psycopg import OperationalError

from services.gateway.http.deadlines import with_deadline


async def test_a_read_whose_connection_had_died_is_done_again():
    tries = []

    async def read():
        tries.append(1)
        if len(tries) < 3:
            raise OperationalError("server closed the connection")
        return "row"

    assert await with_deadline(read, 5) == "row"


async def test_a_read_that_hangs_is_left_behind_even_if_it_does_not_let_itself_be_cancelled():
    let_go = asyncio.Event()

    async def read():
        while not let_go.is_set():
            try:
                await let_go.wait()
            except asyncio.CancelledError:
                continue

    with pytest.raises(TimeoutError):
        await asyncio.wait_for(with_deadline(read, 0.05), 5)
    let_go.set()


async def test_a_database_that_stays_away_is_said_to_be():
    async def read():
        raise OperationalError("connection refused")

    with pytest.raises(OperationalError):
        await with_deadline(read, 0.2)


async def test_any_other_error_is_raised_at_once():
    tries = []

    async def read():
        tries.append(1)
        raise ValueError

    with pytest.raises(ValueError, match=r"^$"):
        await with_deadline(read, 5)
    assert len(tries) == 1
