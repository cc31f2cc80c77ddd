"""Spans as OpenTelemetry's own in-memory exporter gets them; and that there are none while traces are off."""

import datetime as dt
import subprocess
import sys
from uuid import uuid4

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from contracts.events import ProcessingRequested
from shared.observability import traces
from shared.observability.spans import Spans

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
PARENT = f"00-{TRACE}-{SPAN}-01"
EVENT = ProcessingRequested(
    upload_id=uuid4(), workflow_run_id=uuid4(), version=2, attempt=1, occurred_at=dt.datetime.now(dt.UTC),
    original_key="originals/x", deadline_at=dt.datetime.now(dt.UTC),
)  # fmt: skip


@pytest.fixture
def exported():
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    traces.use(Spans(provider))
    yield exporter.get_finished_spans
    traces.use(None)
    provider.shutdown()


def test_a_message_is_handled_within_the_trace_that_it_carries(exported):
    with traces.consume(EVENT, "validator", PARENT):
        handed_on = traces.current(None)
    (span,) = exported()
    assert f"{span.parent.trace_id:032x}-{span.parent.span_id:016x}" == f"{TRACE}-{SPAN}"
    assert handed_on == f"00-{TRACE}-{span.context.span_id:016x}-01"


@pytest.mark.parametrize(
    "broken",
    [
        None,
        "",
        "nonsense",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}",
    ],
)
def test_a_traceparent_that_names_no_trace_begins_a_new_one(exported, broken):
    with traces.request("GET", broken):
        pass
    (span,) = exported()
    assert span.parent is None


def test_a_message_without_a_trace_does_not_join_what_happens_to_run(exported):
    with traces.request("GET", PARENT), traces.consume(EVENT, "validator", None):
        pass
    handled = next(span for span in exported() if span.name == "process validator")
    assert handled.parent is None


def test_an_append_lies_within_what_runs_rather_than_where_the_message_came_from(exported):
    with traces.consume(EVENT, "validator", None), traces.append((EVENT,), PARENT):
        pass
    appended, handled = exported()
    assert appended.parent.span_id == handled.context.span_id


def test_a_trace_that_the_caller_does_not_sample_is_handed_on_unsampled_and_not_exported(exported):
    with traces.consume(EVENT, "validator", f"00-{TRACE}-{SPAN}-00"):
        assert traces.current(None).startswith(f"00-{TRACE}-")
        assert traces.current(None).endswith("-00")
    assert exported() == ()


def test_of_an_error_a_span_keeps_the_type_and_not_the_words(exported):
    with pytest.raises(ValueError, match="ann"), traces.consume(EVENT, "validator", None):
        raise ValueError("ann@example.com is already there")
    (span,) = exported()
    assert (span.status.status_code, span.status.description) == (StatusCode.ERROR, "ValueError")
    assert "ann@" not in span.to_json()


def test_while_traces_are_off_a_message_keeps_the_trace_that_it_came_with():
    with traces.consume(EVENT, "validator", PARENT):
        assert traces.current(PARENT) == PARENT


def test_while_traces_are_off_nothing_is_made_for_a_message():
    assert traces.consume(EVENT, "validator", PARENT) is traces.consume(EVENT, "storer", None)
    assert traces.append((EVENT,), PARENT) is traces.send(EVENT, "validator", None)


def test_while_traces_are_off_their_library_is_not_loaded():
    code = (
        "import sys; from shared import bootstrap; from shared.observability import traces; traces.start('', 'storer');"
        "print([name for name in sys.modules if name.startswith(('opentelemetry.sdk', 'google.protobuf'))])"
    )
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert loaded.strip() == "[]"
