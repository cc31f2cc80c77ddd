"""The spans themselves, by OpenTelemetry. Loaded only where traces are on; no span says more than ids and types."""

import logging
import re
import threading
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager

import structlog
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExportResult
from opentelemetry.trace import NonRecordingSpan, Span, SpanContext, SpanKind, StatusCode, TraceFlags
from opentelemetry.util.types import AttributeValue

from contracts.events import Event, StageAttemptFailed

_TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
SERVER_ERROR = 500
FLUSH = 3.0
"""Seconds that the last spans have to be sent in."""

log = structlog.get_logger(__name__)

Attributes = dict[str, AttributeValue]


def exporting(endpoint: str, service: str) -> "Spans":
    """Return spans that go to `endpoint` in batches; further settings are OpenTelemetry's own."""
    resource = Resource.create({"service.name": service, "service.namespace": "darkroom"})
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(_Saying(endpoint)))
    return Spans(provider)


class _Saying(OTLPSpanExporter):
    """Says once that spans cannot be sent, and once that they can; the library would say it with every try."""

    def __init__(self, endpoint: str) -> None:
        super().__init__(endpoint=endpoint.rstrip("/") + "/v1/traces")
        logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)
        self._failing = False

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        result = super().export(spans)
        failing = result is not SpanExportResult.SUCCESS
        if failing is not self._failing:
            log.warning("trace_export_failed") if failing else log.info("trace_export_recovered")
        self._failing = failing
        return result


class Spans:
    """Makes spans of what the product does."""

    def __init__(self, provider: TracerProvider) -> None:
        self._provider = provider
        self._tracer = provider.get_tracer("darkroom")

    def close(self) -> None:
        """Send what is left, but let a collector that does not answer keep nobody from stopping."""
        closing = threading.Thread(target=self._provider.shutdown, daemon=True)
        closing.start()
        closing.join(FLUSH)

    def current(self) -> str | None:
        context = trace.get_current_span().get_span_context()
        if not context.is_valid:
            return None
        return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"

    def trace_id(self) -> str | None:
        context = trace.get_current_span().get_span_context()
        return f"{context.trace_id:032x}" if context.is_valid else None

    def note(self, name: str, value: str | int) -> None:
        trace.get_current_span().set_attribute(name, value)

    def request(self, method: str, traceparent: str | None) -> AbstractContextManager[Span]:
        return self._span(method, SpanKind.SERVER, _remote(traceparent), {"http.request.method": method})

    def answered(self, method: str, route: str, status: int) -> None:
        span = trace.get_current_span()
        span.update_name(f"{method} {route}")
        span.set_attributes({"http.route": route, "http.response.status_code": status})
        if status >= SERVER_ERROR:
            span.set_status(StatusCode.ERROR)

    def append(self, events: Sequence[Event], traceparent: str | None) -> AbstractContextManager[Span]:
        names = ", ".join(type(event).__name__ for event in events)
        parent = None if trace.get_current_span().get_span_context().is_valid else _remote(traceparent)
        return self._span(
            f"append {names}", SpanKind.CLIENT, parent, {"db.system.name": "postgresql", **_ids(events[0])}
        )

    def send(self, event: Event, target: str, traceparent: str | None) -> AbstractContextManager[Span]:
        return self._span(
            f"send {type(event).__name__}", SpanKind.PRODUCER, _remote(traceparent), _messaging(event, "send", target)
        )

    def consume(self, event: Event, queue: str, traceparent: str | None) -> AbstractContextManager[Span]:
        attributes = _messaging(event, "process", queue)
        if isinstance(event, StageAttemptFailed):
            attributes["darkroom.stage_attempt"] = event.stage_attempt + 1
        return self._span(f"process {queue}", SpanKind.CONSUMER, _remote(traceparent), attributes)

    def call(self, provider: str, model: str) -> AbstractContextManager[Span]:
        return self._span(
            f"call {provider}", SpanKind.CLIENT, None,
            {"gen_ai.provider.name": provider, "gen_ai.request.model": model},
        )  # fmt: skip

    @contextmanager
    def _span(self, name: str, kind: SpanKind, parent: Context | None, attributes: Attributes) -> Iterator[Span]:
        """Make a span; within what runs, where `parent` is None."""
        with self._tracer.start_as_current_span(
            name, parent, kind, attributes, record_exception=False, set_status_on_exception=False
        ) as span:
            try:
                yield span
            except BaseException as error:
                # Not its message, which may quote what somebody sent.
                span.set_status(StatusCode.ERROR, type(error).__name__)
                raise


def _remote(traceparent: str | None) -> Context:
    """Return the context that a traceparent names; an empty one, which begins a new trace, where it names none."""
    found = _TRACEPARENT.fullmatch(traceparent or "")
    if found is None:
        return Context()
    trace_id, span_id, flags = (int(part, 16) for part in found.group(1, 2, 3))
    parent = SpanContext(trace_id, span_id, is_remote=True, trace_flags=TraceFlags(flags))
    return trace.set_span_in_context(NonRecordingSpan(parent), Context())


def _messaging(event: Event, operation: str, destination: str) -> Attributes:
    return {
        "messaging.operation.type": operation,
        "messaging.destination.name": destination,
        "messaging.message.id": event.message_id,
        **_ids(event),
    }


def _ids(event: Event) -> Attributes:
    ids: Attributes = {"darkroom.upload_id": str(event.upload_id)}
    if event.correlation_id is not None:
        ids["darkroom.workflow_run_id"] = event.correlation_id
        ids["darkroom.attempt"] = getattr(event, "attempt", 1)
    return ids
