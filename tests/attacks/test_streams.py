"""Event streams and long polls held open: a client gets its share, and an upload never started keeps none for ever."""

import asyncio
import contextlib
import socket
import uuid
from collections import Counter

import httpx
import pytest
from psycopg_pool import AsyncConnectionPool

from services.gateway.jobs.status_streams import StatusStreams
from shared.database.migrate import migrate
from shared.eventstore.stream_reader import StreamReader
from shared.read_model.changes import ChangeListener
from shared.storage.local import LocalObjectStore
from tests.integration.gateway.gateways import a_gateway, problem
from tests.integration.gateway.runs import a_run
from tests.stack import eventually

SHARE = 40
UPLOADS = 4


@pytest.fixture(scope="module")
def gateway(postgres, tmp_path_factory):
    url = postgres.create_database()
    migrate(url)
    env = {"TRUSTED_PROXIES": "127.0.0.0/8", "STREAMS_PER_CLIENT": str(SHARE)}
    with a_gateway(tmp_path_factory.mktemp("gateway"), url, env=env) as running:
        yield running
    postgres.drop_database(url)


@pytest.fixture
def client():
    """An address that no other test calls from."""
    return f"2001:db8:{uuid.uuid4().hex[:4]}:{uuid.uuid4().hex[:4]}::1"


def open_stream(stack, gateway, upload, client, target="/events", more=""):
    """Ask for a stream; return the connection."""
    upload_id, token = upload
    connection = stack.enter_context(socket.create_connection(("127.0.0.1", gateway.port), timeout=20))
    connection.sendall(
        f"GET /api/status/{upload_id}{target} HTTP/1.1\r\nHost: x\r\nX-Session-Token: {token}\r\n"
        f"X-Forwarded-For: {client}\r\n{more}\r\n".encode()
    )
    return connection


def status_of(connection):
    return int(connection.recv(4096).split()[1])


def get_stream(gateway, upload, client):
    """Ask for a stream and leave after its head; return the status."""
    upload_id, token = upload
    headers = {"X-Session-Token": token, "X-Forwarded-For": client}
    with httpx.stream("GET", f"{gateway.url}/api/status/{upload_id}/events", headers=headers, timeout=20) as answer:
        if answer.status_code == 429:
            answer.read()
            problem(answer, 429, "RATE_LIMITED")
            assert int(answer.headers["Retry-After"]) >= 1
        return answer.status_code


def test_one_client_with_many_uploads_gets_its_share_and_another_is_not_held_up(gateway, client):
    uploads = [gateway.upload() for _ in range(UPLOADS)]
    with contextlib.ExitStack() as stack:
        asked = [open_stream(stack, gateway, uploads[n % UPLOADS], client) for n in range(2 * SHARE)]
        statuses = [status_of(connection) for connection in asked]
        assert Counter(statuses) == {200: SHARE, 429: SHARE}
        assert get_stream(gateway, gateway.upload(), client) == 429
        assert get_stream(gateway, gateway.upload(), client.replace("::1", "::2")) == 429
        assert get_stream(gateway, uploads[0], "203.0.113.1") == 200
        assert get_stream(gateway, gateway.upload(), "203.0.113.1") == 200
    # Whoever left is noticed at the next sign of life, at the latest.
    eventually(lambda: get_stream(gateway, uploads[0], client) == 200, within=30, every=0.5)


def test_long_polls_and_streams_share_the_places(gateway, client):
    uploads = [gateway.upload() for _ in range(UPLOADS)]
    with contextlib.ExitStack() as stack:
        for n in range(SHARE):
            assert status_of(open_stream(stack, gateway, uploads[n % UPLOADS], client)) == 200
        poll = open_stream(stack, gateway, uploads[0], client, "?wait=20", 'If-None-Match: "1"\r\n')
        assert status_of(poll) == 429
        poll = open_stream(stack, gateway, uploads[0], "203.0.113.2", "?wait=0.1", 'If-None-Match: "1"\r\n')
        assert status_of(poll) == 304
        # A status that nobody waits for is told as ever.
        assert gateway.client.status(*uploads[0])["status"] == "pending"


def test_the_places_of_polls_that_ended_are_free_again(gateway, client):
    upload = gateway.upload()
    for _ in range(2 * SHARE):
        with contextlib.ExitStack() as stack:
            assert (
                status_of(open_stream(stack, gateway, upload, client, "?wait=0.001", 'If-None-Match: "1"\r\n')) == 304
            )


def test_clients_that_hang_up_before_their_stream_begins_keep_no_places(gateway, client):
    upload = gateway.upload()
    for _ in range(3 * SHARE):
        with contextlib.ExitStack() as stack:
            open_stream(stack, gateway, upload, client)
    eventually(lambda: get_stream(gateway, upload, client) == 200, within=40, every=0.5)


@contextlib.asynccontextmanager
async def following(gateway):
    """Streams that do not wait long: a sign of life every 0.05 s, and an end after 0.3 s for what is not started."""
    url = gateway.stack.database_url
    store = LocalObjectStore(gateway.stack.folder / "objects", gateway.url)
    async with AsyncConnectionPool(url, open=False, min_size=1, kwargs={"autocommit": True}) as pool:
        yield StatusStreams(StreamReader(pool), ChangeListener(url), store, heartbeat=0.05, pending_for=0.3)


async def test_the_stream_of_an_upload_that_is_not_started_ends_by_itself(gateway):
    upload_id, _ = gateway.upload()
    async with following(gateway) as streams, asyncio.timeout(20):
        lines = [line async for line in streams.lines(uuid.UUID(upload_id), 0)]
    assert sum(line.startswith(b"id:") for line in lines) == 1


async def test_the_stream_of_a_run_under_way_goes_on(gateway):
    with a_run(gateway) as (run, _):
        async with following(gateway) as streams, asyncio.timeout(20):
            lines = streams.lines(run.upload_id, 0)
            for _ in range(40):
                await anext(lines)
            await lines.aclose()
