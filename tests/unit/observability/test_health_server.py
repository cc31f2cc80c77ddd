"""The small HTTP server of a process without HTTP, over real sockets."""

import asyncio
import contextlib

import httpx
import pytest

from shared.observability import health_server
from shared.observability.health_server import HealthServer
from shared.observability.readiness import Readiness
from tests.servers import free_port


@contextlib.asynccontextmanager
async def serving(readiness):
    port = free_port()
    task = asyncio.create_task(HealthServer(readiness, "127.0.0.1", port).run())
    try:
        async with asyncio.timeout(5):
            while True:
                with contextlib.suppress(OSError):
                    _, writer = await asyncio.open_connection("127.0.0.1", port)
                    writer.close()
                    break
                await asyncio.sleep(0.001)
        yield port
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def get(port, path, **options):
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
        return await client.request(options.pop("method", "GET"), path, **options)


async def test_ready_names_what_is_away_until_it_is_there():
    readiness = Readiness()
    note = readiness.need("database")
    async with serving(readiness) as port:
        waiting = await get(port, "/health/ready")
        note(True)
        well = await get(port, "/health/ready")
    assert (waiting.status_code, waiting.json()) == (503, {"status": "unavailable", "database": "away"})
    assert (well.status_code, well.json()) == (200, {"status": "ok", "database": "ok"})


async def test_a_process_that_is_not_ready_is_alive_all_the_same():
    readiness = Readiness()
    readiness.need("database")
    async with serving(readiness) as port:
        assert (await get(port, "/health/live?probe=1")).status_code == 200


async def test_metrics_come_in_the_format_that_is_asked_for():
    async with serving(Readiness()) as port:
        plain = await get(port, "/metrics", headers={"Accept": "text/plain"})
        open_metrics = await get(port, "/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"})
    assert plain.headers["Content-Type"].startswith("text/plain")
    assert "darkroom_outbox_overdue_rows" in plain.text
    assert open_metrics.headers["Content-Type"].startswith("application/openmetrics-text")
    assert open_metrics.text.endswith("# EOF\n")


@pytest.mark.parametrize(
    ("method", "path", "status"), [("GET", "/", 404), ("GET", "/metrics/x", 404), ("POST", "/metrics", 405)]
)
async def test_there_is_nothing_else(method, path, status):
    async with serving(Readiness()) as port:
        assert (await get(port, path, method=method)).status_code == status


async def test_a_head_is_answered_without_a_body():
    async with serving(Readiness()) as port:
        answer = await get(port, "/health/live", method="HEAD")
    assert (answer.status_code, answer.content) == (200, b"")


@pytest.mark.parametrize("junk", [b"", b"\r\n", b"GET / HTTP/1.1\r\nX: " + b"x" * 100_000, b"\xff\xfe\r\n\r\n"])
async def test_junk_ends_its_own_connection_and_no_other(junk, monkeypatch, caplog):
    monkeypatch.setattr(health_server, "HEAD_TIMEOUT", 0.05)
    async with serving(Readiness()) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        with contextlib.suppress(ConnectionError):
            writer.write(junk)
            await writer.drain()
            async with asyncio.timeout(5):
                await reader.read()
        writer.close()
        assert (await get(port, "/health/live")).status_code == 200
    assert caplog.records == []
