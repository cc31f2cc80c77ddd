"""Clients that stall: none of them holds the gateway, and none of them is waited for."""

import asyncio
import datetime as dt
from urllib.parse import urlsplit

import pytest
from structlog.testing import capture_logs

from services.gateway import server
from services.gateway.middleware import slow_clients
from tests.integration.gateway.in_process import a_served_gateway, send

LARGE = 40 * 1024 * 1024
HEAD = (
    b"POST /api/uploads HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n"
    b"Content-Type: multipart/form-data; boundary=b\r\n"
)


@pytest.fixture
async def port(tmp_path, database_url, monkeypatch):
    monkeypatch.setattr(server, "HEADER_TIMEOUT_MS", 500)
    monkeypatch.setattr(slow_clients, "FIRST_BYTES", 0.5)
    monkeypatch.setattr(slow_clients, "READER_WAIT", 0.5)
    async with a_served_gateway(tmp_path, database_url) as (_, served):
        yield served


async def the_rest(reader):
    async with asyncio.timeout(10):
        return await reader.read()


@pytest.mark.parametrize(
    "sent", [b"", b"G", b"GET /health/live HTTP/1.1\r\n", b"GET /health/live HTTP/1.1\r\nHost: x\r\nA: "]
)
async def test_a_client_that_does_not_finish_its_headers_is_let_go(port, sent):
    reader, writer = await send(port, sent)
    rest = await the_rest(reader)
    assert b"200" not in rest
    writer.close()


async def test_an_idle_connection_is_let_go(port):
    reader, writer = await send(port, b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n")
    assert b"200 OK" in await the_rest(reader)
    writer.close()


async def test_a_client_that_does_not_send_its_body_gets_a_408_and_is_let_go(port):
    reader, writer = await send(port, HEAD + b"\r\n", b"--b\r\n")
    answer = await the_rest(reader)
    assert answer.startswith(b"HTTP/1.1 408")
    assert b"REQUEST_TIMEOUT" in answer
    writer.close()


async def test_a_body_that_trickles_in_gets_a_408_although_it_never_stops(port):
    reader, writer = await send(port, HEAD + b"\r\n")
    answer = asyncio.create_task(the_rest(reader))
    while not answer.done():
        writer.write(b"x")
        await asyncio.wait((answer,), timeout=0.1)
    assert (await answer).startswith(b"HTTP/1.1 408")
    writer.close()


async def test_a_client_that_does_not_read_is_let_go(tmp_path, database_url, monkeypatch):
    monkeypatch.setattr(slow_clients, "READER_WAIT", 0.5)
    with capture_logs() as lines:
        async with a_served_gateway(tmp_path, database_url) as (runtime, port):
            await runtime.objects.put("results/large", bytes(LARGE), "image/png")
            url = urlsplit(await runtime.objects.signed_url("results/large", expires=dt.timedelta(minutes=1)))
            reader, writer = await send(port, f"GET {url.path}?{url.query} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            head = await reader.readuntil(b"\r\n\r\n")
            assert b"200 OK" in head
            assert f"content-length: {LARGE}".encode() in head.lower()
            async with asyncio.timeout(10):
                while "response_aborted" not in [line["event"] for line in lines]:
                    await asyncio.sleep(0.05)
            # What the kernels held until then still comes.
            assert len(await the_rest(reader)) < LARGE
            writer.close()
