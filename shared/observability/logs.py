"""Structured logs: JSON for machines, coloured lines for a person. A line about a message names its run."""

import contextlib
import logging
import sys
from collections.abc import Iterator
from contextvars import ContextVar

import structlog

from contracts.events import Event, StageAttemptFailed
from shared.observability import traces

_message: ContextVar[tuple[str, Event] | None] = ContextVar("message", default=None)
_request: ContextVar[str | None] = ContextVar("request", default=None)
_process = ""


def name_process(service: str) -> None:
    """Have every line say which service this process is."""
    global _process  # noqa: PLW0603 — a process has one name
    _process = service


def about(event: Event, service: str = "") -> None:
    """Have every further line of the running task tell of `event`; `service` is who handles it, where not the process.

    It is called for every message, so nothing is taken from the event before there is a line to write. There is
    nothing to undo: each message is handled in a task of its own.
    """
    _message.set((service, event))


@contextlib.contextmanager
def of_request(request_id: str) -> Iterator[None]:
    """Have every line within tell which HTTP request it belongs to."""
    token = _request.set(request_id)
    try:
        yield
    finally:
        _request.reset(token)


def identify(_: object, __: str, line: structlog.types.EventDict) -> structlog.types.EventDict:
    """Add whose line it is: service, request, run, upload, attempt and trace, where the line does not say so itself."""
    service, event = _message.get() or ("", None)
    if event is not None:
        line.setdefault("upload_id", str(event.upload_id))
        if event.correlation_id is not None:
            line.setdefault("workflow_run_id", event.correlation_id)
            line.setdefault("attempt", getattr(event, "attempt", 1))
        if isinstance(event, StageAttemptFailed):
            line.setdefault("stage_attempt", event.stage_attempt + 1)
    if (request_id := _request.get()) is not None:
        line.setdefault("request_id", request_id)
    if service or _process:
        line.setdefault("service", service or _process)
    if (trace_id := traces.trace_id()) is not None:
        line["trace_id"] = trace_id
    return line


def configure_logging(level: str, log_format: str) -> None:
    """Set up logging; `log_format` is `json` or `console`. Libraries' warnings come out the same way."""
    shared: list[structlog.types.Processor] = [
        identify,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    renderer: structlog.types.Processor = (
        structlog.processors.JSONRenderer()
        if log_format == "json"
        else structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(),
            exception_formatter=structlog.dev.plain_traceback,  # the rich one prints local variables, tokens included
        )
    )
    tail: list[structlog.types.Processor] = (
        [structlog.processors.format_exc_info, renderer] if log_format == "json" else [renderer]
    )
    structlog.configure(
        processors=[*shared, *tail],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelName(level)),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared, processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *tail]
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    # Libraries say much at INFO that is theirs alone; reconnects are said by us, once.
    root.setLevel(max(logging.WARNING, logging.getLevelName(level)))
    for noisy in ("aio_pika", "aiormq", "psycopg.pool"):
        logging.getLogger(noisy).setLevel(logging.CRITICAL)
