"""Traces over OTLP, where OTEL_EXPORTER_OTLP_ENDPOINT says where to. Otherwise nothing is loaded, and nothing made.

A trace is carried as a W3C traceparent: in the HTTP request, the outbox row, and the message's headers.
"""

import re
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

from contracts.events import Event

if TYPE_CHECKING:
    from shared.observability.spans import Spans

_TRACEPARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}(-[!-~]{0,64})?")
_OFF = nullcontext()
_spans: "Spans | None" = None


def start(endpoint: str, service: str) -> Callable[[], None]:
    """Begin to trace to an OTLP/HTTP endpoint, if one is given; the answer is what ends it, sending what is left."""
    if not endpoint or _spans is not None:
        return lambda: None
    from shared.observability.spans import exporting  # noqa: PLC0415 — megabytes that a process without traces saves

    spans = exporting(endpoint, service)
    use(spans)

    def end() -> None:
        use(None)
        spans.close()

    return end


def use(spans: "Spans | None") -> None:
    """Have spans made, or none any more."""
    global _spans  # noqa: PLW0603 — a process has one destination, and whoever makes a span is not told of it
    _spans = spans


def current(otherwise: str | None) -> str | None:
    """Return the running span's traceparent; `otherwise` where there is none, so that a trace passes through."""
    return otherwise if _spans is None else _spans.current() or otherwise


def checked(traceparent: object) -> str | None:
    """Return what a stranger gave as a traceparent, or None where it is none: it is stored, and sent on."""
    text = traceparent if isinstance(traceparent, str) else ""
    return text if _TRACEPARENT.fullmatch(text) else None


def trace_id() -> str | None:
    """Return the running trace's id, for a log line."""
    return None if _spans is None else _spans.trace_id()


def note(name: str, value: str | int) -> None:
    """Put an attribute on the running span."""
    if _spans is not None:
        _spans.note(name, value)


def request(method: str, traceparent: str | None) -> AbstractContextManager[object]:
    """Span an HTTP request."""
    return _OFF if _spans is None else _spans.request(method, traceparent)


def answered(method: str, route: str, status: int) -> None:
    """Say on a request's span what it was for and how it was answered."""
    if _spans is not None:
        _spans.answered(method, route, status)


def append(events: Sequence[Event], traceparent: str | None) -> AbstractContextManager[object]:
    """Span an append, within what runs, or else within `traceparent`."""
    return _OFF if _spans is None else _spans.append(events, traceparent)


def send(event: Event, target: str, traceparent: str | None) -> AbstractContextManager[object]:
    """Span the sending of a message."""
    return _OFF if _spans is None else _spans.send(event, target, traceparent)


def consume(event: Event, queue: str, traceparent: str | None) -> AbstractContextManager[object]:
    """Span the handling of a message: one attempt."""
    return _OFF if _spans is None else _spans.consume(event, queue, traceparent)


def call(provider: str, model: str) -> AbstractContextManager[object]:
    """Span a call of the AI provider."""
    return _OFF if _spans is None else _spans.call(provider, model)
