"""Spans on their way to a collector, and what happens where there is none."""

import socket
import threading

import pytest
from structlog.testing import capture_logs

from shared.observability import spans, traces
from tests.integration.observability.otlp_server import collecting
from tests.servers import free_port


@pytest.fixture(autouse=True)
def at_once(monkeypatch):
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "10")
    yield
    traces.use(None)


def a_span():
    with traces.request("GET", None):
        pass


def test_what_is_left_is_sent_at_the_end(monkeypatch):
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "3600000")
    with collecting() as collector:
        end = traces.start(collector.url, "storer")
        a_span()
        assert collector.spans == []
        end()
    assert [(span.service, span.name) for span in collector.spans] == [("storer", "GET")]


def test_after_the_end_no_span_is_made():
    with collecting() as collector:
        traces.start(collector.url, "storer")()
        a_span()
    assert traces.current(None) is None
    assert collector.spans == []


def test_a_collector_that_never_answers_keeps_no_process_from_stopping(monkeypatch):
    monkeypatch.setattr(spans, "FLUSH", 0.2)
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen()
        end = traces.start(f"http://127.0.0.1:{deaf.getsockname()[1]}", "storer")
        a_span()
        ending = threading.Thread(target=end, daemon=True)
        ending.start()
        ending.join(5)  # A tenth of what the exporter would wait by itself.
        assert not ending.is_alive()


def test_a_collector_that_is_away_is_said_once_and_so_is_its_return(monkeypatch):
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1")
    port = free_port()
    exporter = spans._Saying(f"http://127.0.0.1:{port}")
    with capture_logs() as lines:
        exporter.export([])
        exporter.export([])
    assert [line["event"] for line in lines] == ["trace_export_failed"]
    with collecting(port), capture_logs() as lines:
        exporter.export([])
        exporter.export([])
    assert [line["event"] for line in lines] == ["trace_export_recovered"]
    exporter.shutdown()
