"""One run, traced over the real processes: from the request to the last event, its failed attempt included."""

import contextlib

import pytest

from tests import photos
from tests.gemini_server import serving_in_thread
from tests.integration.observability.otlp_server import Collector, Taken, collecting
from tests.stack import SERVICES, Client, Stack, eventually

TRACE = "0af7651916cd43dd8448eb211c80319c"
CALLER = "b7ad6b7169203331"

PATH = [
    "gateway: POST /api/process",
    "gateway: append ProcessingRequested",
    "gateway: send ProcessingRequested",
    "validator: process validator",
    "validator: append ImageValidated",
    "validator: send ImageValidated",
    "generator: process generator",
    "generator: append StageAttemptFailed",
    "dispatcher: send StageAttemptFailed",
    "generator: process generator",
    "generator: append ImageGenerated",
    "generator: send ImageGenerated",
    "storer: process storer",
    "storer: append ResultStored",
    "storer: send ResultStored",
    "watermarker: process watermarker",
    "watermarker: append PreviewWatermarked, ProcessingCompleted",
    "watermarker: send ProcessingCompleted",
    "analytics: process analytics",
]
"""Each within the one before: the run's way, hop by hop."""


@pytest.fixture
def collector():
    with collecting() as it:
        yield it


def within(collector: Collector, last: Taken) -> list[str]:
    """Name the spans that `last` lies within, outermost first, and itself."""
    by_id = {span.id: span for span in collector.of_trace(TRACE)}
    path = [last]
    while path[-1].parent in by_id:
        path.append(by_id[path[-1].parent])
    return [f"{span.service}: {span.name}" for span in reversed(path)]


def the_end(collector: Collector) -> Taken | None:
    ends = [s for s in collector.of_trace(TRACE) if s.service == "analytics" and len(within(collector, s)) == len(PATH)]
    return ends[0] if ends else None


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_a_retried_run_is_one_trace_from_the_callers_request_to_the_last_consumer(
    tmp_path, database_url, amqp_url, collector
):
    with serving_in_thread() as gemini:
        gemini.use("ok", "503")
        env = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
            "OTEL_BSP_SCHEDULE_DELAY": "200",
            "GENERATOR": "gemini",
            "GEMINI_API_KEY": "AIzaOnlyForThisTest",
            "GEMINI_BASE_URL": gemini.url,
        }
        with Stack(tmp_path, database_url, amqp_url, env) as stack:
            stack.start(*SERVICES)
            stack.wait_ready(within=90)
            client = Client(stack.url)
            with contextlib.closing(client.http):
                upload, token = client.upload(photos.a_jpeg(), email="ann@secret.example")
                client.http.headers["traceparent"] = f"00-{TRACE}-{CALLER}-01"
                assert client.start(upload, token).status_code == 202
                del client.http.headers["traceparent"]
                assert client.finished(upload, token, within=90)["status"] == "completed"
            eventually(
                lambda: the_end(collector) is not None, within=30, or_show=lambda: str(collector.of_trace(TRACE))
            )
    end = the_end(collector)
    assert end is not None
    assert within(collector, end) == PATH
    spans = collector.of_trace(TRACE)
    assert spans[0].parent == CALLER
    attempts = [span.attributes for span in spans if span.name == "process generator"]
    assert [a["darkroom.outcome"] for a in attempts] == ["retried", "done"]
    assert attempts[1]["darkroom.stage_attempt"] == 2
    calls = [span for span in spans if span.name == "call gemini"]
    assert [call.failed for call in calls] == [True, False]
    runs = {span.attributes["darkroom.workflow_run_id"] for span in spans if "darkroom.upload_id" in span.attributes}
    assert len(runs) == 1
    for secret in ("ann@secret", token, "AIzaOnly", "digest"):
        assert not [span for span in collector.spans if secret in span.text]
