"""Requests as the gateway counts them, around an application that does as it is told."""

import asyncio

import pytest
from prometheus_client import REGISTRY

from services.gateway.middleware.telemetry import with_telemetry


def count(name, **labels):
    return REGISTRY.get_sample_value(f"darkroom_{name}", labels) or 0


def answering(route, status=200, content_type=b"application/json", wait=None):
    """Return an application that finds `route`, and after its answer's head waits for `wait`."""

    async def app(scope, receive, send):
        if route:
            scope["path_template"] = route
        await send({"type": "http.response.start", "status": status, "headers": [(b"content-type", content_type)]})
        if wait is not None:
            await wait.wait()
        await send({"type": "http.response.body", "body": b""})

    return app


async def ask(app, method="GET", path="/x"):
    async def send(_):
        pass

    await with_telemetry(app)({"type": "http", "method": method, "path": path, "headers": []}, None, send)


async def test_a_request_counts_under_its_route_and_not_under_its_path():
    await ask(answering("/api/status/{job_id:str}"), path="/api/status/01890000")
    assert count("http_requests_total", method="GET", route="/api/status/{job_id:str}", status="200") == 1
    assert count("http_request_seconds_count", method="GET", route="/api/status/{job_id:str}") == 1


async def test_paths_that_lead_nowhere_are_one_series():
    before = count("http_requests_total", method="GET", route="none", status="404")
    for path in ("/a", "/b", "/c"):
        await ask(answering(None, 404), path=path)
    assert count("http_requests_total", method="GET", route="none", status="404") == before + 3


async def test_methods_that_nobody_knows_are_one_series():
    before = count("http_requests_total", method="OTHER", route="none", status="405")
    for method in ("BREW", "PROPFIND"):
        await ask(answering(None, 405), method=method)
    assert count("http_requests_total", method="OTHER", route="none", status="405") == before + 2


@pytest.mark.parametrize(("status", "counted"), [(202, 1), (409, 0), (401, 0)])
async def test_only_a_start_that_is_taken_has_a_start_latency(status, counted):
    before = count("start_seconds_count")
    await ask(answering("/api/process", status), method="POST")
    assert count("start_seconds_count") == before + counted


async def test_an_event_stream_is_open_until_it_ends_and_its_time_is_that_to_its_head():
    wait = asyncio.Event()
    before = count("event_streams")
    task = asyncio.create_task(ask(answering("/events", content_type=b"text/event-stream; charset=utf-8", wait=wait)))
    async with asyncio.timeout(5):
        while count("http_request_seconds_count", method="GET", route="/events") == 0:
            await asyncio.sleep(0)
    assert count("event_streams") == before + 1
    wait.set()
    await task
    assert count("event_streams") == before


async def test_a_stream_whose_client_goes_away_is_open_no_more():
    before = count("event_streams")
    task = asyncio.create_task(ask(answering("/gone", content_type=b"text/event-stream", wait=asyncio.Event())))
    async with asyncio.timeout(5):
        while count("event_streams") == before:
            await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert count("event_streams") == before


async def test_a_client_that_leaves_before_the_answer_is_counted_as_gone():
    async def app(scope, receive, send):
        scope["path_template"] = "/slow"
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await ask(app)
    assert count("http_requests_total", method="GET", route="/slow", status="499") == 1
