"""One limit a client, kept between gateway processes; and no open door while the database is away."""

import asyncio
import contextlib
import datetime as dt
import uuid

import psycopg
import pytest
from psycopg_pool import AsyncConnectionPool

from shared.database.migrate import migrate
from shared.database.rate_limits import RateLimits
from tests.integration.gateway.gateways import PHOTO, a_gateway, problem

LIMITS = {"RATE_LIMIT_UPLOADS": "3", "RATE_LIMIT_PROCESS": "2", "TRUSTED_PROXIES": "127.0.0.0/8"}
TOKEN = {"X-Session-Token": "x"}


@pytest.fixture(scope="module")
def two_gateways(module_database_url, tmp_path_factory):
    """Two processes over one database, behind a proxy that they trust."""
    with contextlib.ExitStack() as stack:
        folder = tmp_path_factory.mktemp("limits")
        yield [
            stack.enter_context(a_gateway(folder / name, module_database_url, env=LIMITS)) for name in ("one", "two")
        ]


@pytest.fixture
def client():
    """An address that no other test calls from."""
    return f"2001:db8:{uuid.uuid4().hex[:4]}:{uuid.uuid4().hex[:4]}::1"


def upload(gateway, client, **headers):
    form = {"data": {"email": "ann@example.com"}, "files": {"image": PHOTO}}
    return gateway.http.post("/api/uploads", headers={"X-Forwarded-For": client, **headers}, **form)


def start(gateway, client):
    body = {"uploadId": str(uuid.uuid4())}
    return gateway.http.post("/api/process", json=body, headers={"X-Forwarded-For": client, **TOKEN})


def test_two_processes_keep_one_limit_on_uploads(two_gateways, client):
    one, two = two_gateways
    assert [upload(gateway, client).status_code for gateway in (one, two, one)] == [201] * 3
    for gateway in (one, two):
        answer = upload(gateway, client)
        problem(answer, 429, "RATE_LIMITED")
        assert 1 <= int(answer.headers["Retry-After"]) <= 20


def test_two_processes_keep_one_limit_on_starts_apart_from_that_on_uploads(two_gateways, client):
    one, two = two_gateways
    assert [start(gateway, client).status_code for gateway in (one, two)] == [404] * 2
    problem(start(one, client), 429, "RATE_LIMITED")
    problem(one.http.post(f"/api/process/{uuid.uuid4()}/retry", headers={"X-Forwarded-For": client, **TOKEN}), 429,
            "RATE_LIMITED")  # fmt: skip
    assert upload(two, client).status_code == 201


def test_an_announced_upload_counts_as_an_upload(two_gateways, client):
    body = {"email": "ann@example.com", "contentType": "image/jpeg", "sizeBytes": 10}
    headers = {"X-Forwarded-For": client}
    codes = [gateway.http.post("/api/uploads/presign", json=body, headers=headers).status_code
             for gateway in two_gateways * 2]  # fmt: skip
    assert codes == [201, 201, 201, 429]


def test_another_client_is_not_held_up(two_gateways, client):
    one, _ = two_gateways
    while upload(one, client).status_code != 429:
        pass
    assert upload(one, "2001:db8:ffff:ffff::1").status_code == 201


def test_a_client_does_not_get_away_by_another_address_of_its_network(two_gateways, client):
    one, _ = two_gateways
    codes = [upload(one, client.replace("::1", f"::{n}")).status_code for n in range(1, 5)]
    assert codes == [201, 201, 201, 429]


def test_what_a_client_says_of_its_own_way_here_does_not_help_it(two_gateways, client):
    one, _ = two_gateways
    codes = [upload(one, f"198.51.100.{n}, {client}").status_code for n in range(4)]
    assert codes == [201, 201, 201, 429]


def test_a_call_without_a_token_is_a_401_and_does_not_count(two_gateways, client):
    one, _ = two_gateways
    headers = {"X-Forwarded-For": client}
    for _ in range(4):
        problem(one.http.post("/api/process", json={}, headers=headers), 401, "INVALID_SESSION_TOKEN")
    assert start(one, client).status_code == 404


def test_without_trusted_proxies_the_peer_is_the_client(module_database_url, tmp_path):
    env = {"RATE_LIMIT_PROCESS": "2", "HOST": "127.0.0.1"}
    with a_gateway(tmp_path, module_database_url, env=env) as gateway:
        codes = [start(gateway, f"203.0.113.{n}").status_code for n in range(3)]
    assert codes == [404, 404, 429]


def test_with_the_database_away_no_call_is_let_through_and_none_is_called_too_many(breakable_postgres, tmp_path):
    url = breakable_postgres.create_database()
    migrate(url)
    with a_gateway(tmp_path, url, env=LIMITS) as gateway:
        breakable_postgres.stop()
        for _ in range(5):
            problem(upload(gateway, "203.0.113.1"), 503, "UNAVAILABLE")
            problem(start(gateway, "203.0.113.1"), 500, "WORKFLOW_TRIGGER_FAILED")


@pytest.fixture
async def counts(database_url):
    async with AsyncConnectionPool(database_url, open=False, min_size=4, max_size=8, kwargs={"autocommit": True}) as p:
        yield RateLimits(p)


async def test_of_many_calls_at_one_moment_exactly_the_limit_go_on(counts):
    waits = await asyncio.gather(*(counts.take("ann", 7) for _ in range(40)))
    assert sum(wait == 0 for wait in waits) == 7
    assert all(0 <= wait <= 60 / 7 for wait in waits)


async def test_the_wait_that_is_told_is_enough(counts, database_url):
    for _ in range(5):
        assert await counts.take("ann", 5) == 0
    wait = await counts.take("ann", 5)
    assert 11 < wait <= 12
    await let_pass(database_url, wait - 0.5)
    assert await counts.take("ann", 5) > 0
    await let_pass(database_url, 0.5)
    assert await counts.take("ann", 5) == 0
    assert await counts.take("ann", 5) > 0


async def test_a_refused_call_does_not_make_the_wait_longer(counts):
    await counts.take("ann", 1)
    first = await counts.take("ann", 1)
    for _ in range(20):
        assert await counts.take("ann", 1) <= first


async def test_callers_who_have_been_quiet_are_forgotten(counts, database_url):
    await counts.take("ann", 60)
    await counts.take("bob", 1)
    await let_pass(database_url, 2)
    await counts.forget()
    async with await psycopg.AsyncConnection.connect(database_url) as conn:
        rows = await (await conn.execute("SELECT caller FROM rate_limits")).fetchall()
    assert rows == [("bob",)]


async def let_pass(database_url, seconds):
    """Let time pass for the table."""
    async with await psycopg.AsyncConnection.connect(database_url, autocommit=True) as conn:
        await conn.execute("UPDATE rate_limits SET due_at = due_at - %s", (dt.timedelta(seconds=seconds),))
