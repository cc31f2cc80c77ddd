"""Every metric that a process may show, by name. `stage` and `queue` are the stage's folder, process and queue.

Whoever counts often binds a metric's labels once, at start, and keeps the child. Times are in seconds.
"""

from prometheus_client import Counter, Gauge, Histogram, disable_created_metrics

disable_created_metrics()  # type: ignore[no-untyped-call]  # they would double the series

_FAST = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25)
_STAGE = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 30, 45, 60, 75, 90, 120, 150, 200)
_LAG = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 1800)
_GROUP = (1, 2, 4, 8, 16, 32, 64, 128, 256)

# The gateway.
HTTP_REQUESTS = Counter("darkroom_http_requests", "Requests answered.", ["method", "route", "status"])
HTTP_SECONDS = Histogram(
    "darkroom_http_request_seconds", "From a request to the head of its answer.", ["method", "route"], buckets=_FAST
)
START_SECONDS = Histogram("darkroom_start_seconds", "From POST /api/process to its 202.", buckets=_FAST)
EVENT_STREAMS = Gauge("darkroom_event_streams", "Event streams that clients hold open.")
OPERATOR_REQUESTS = Counter(
    "darkroom_operator_requests", "Requests of operators by outcome: let_in, refused, throttled.", ["outcome"]
)

# The stages.
STAGE_SECONDS = Histogram(
    "darkroom_stage_seconds", "One attempt, until its outcome is recorded.", ["stage"], buckets=_STAGE
)
STAGE_OUTCOMES = Counter(
    "darkroom_stage_outcomes",
    "Messages by what became of them: done, retried, failed, skipped.",
    ["stage", "outcome"],
)
STAGE_FAILURES = Counter("darkroom_stage_failures", "Failed attempts by reason.", ["stage", "code"])
BREAKER_OPEN = Gauge(
    "darkroom_breaker_open", "1 while a stage takes nothing up because what it calls is down.", ["stage"]
)
PROVIDER_CALLS = Counter(
    "darkroom_provider_calls",
    "Calls of the AI provider by outcome: ok, refused, failed, unknown (it may have drawn, and billed).",
    ["provider", "model", "outcome"],
)
PROVIDER_SECONDS = Histogram(
    "darkroom_provider_call_seconds", "A call of the AI provider.", ["provider"], buckets=_STAGE
)
PROVIDER_COST = Counter(
    "darkroom_provider_cost_usd",
    "Estimated cost of the calls that may be billed, in US dollars.",
    ["provider", "model"],
)

# Messages.
MESSAGES_IN_FLIGHT = Gauge("darkroom_messages_in_flight", "Messages being handled.", ["queue"])
QUEUE_LAG = Histogram(
    "darkroom_queue_lag_seconds", "Age of a message when it is taken: since its event, or since it was due.",
    ["queue"], buckets=_LAG,
)  # fmt: skip
MESSAGES_REQUEUED = Counter("darkroom_messages_requeued", "Messages that could not be handled now.", ["queue"])
MESSAGES_DEAD_LETTERED = Counter("darkroom_messages_dead_lettered", "Messages that cannot be read.", ["queue"])
SENDS = Counter(
    "darkroom_sends", "Outbox rows published, by whom and outcome: sent, away, unroutable, error.", ["by", "outcome"]
)

# The event store.
COMMIT_APPENDS = Histogram("darkroom_commit_appends", "Appends that share one commit.", buckets=_GROUP)
COMMIT_SECONDS = Histogram("darkroom_commit_seconds", "One group commit.", buckets=_FAST)

# The dispatcher.
OUTBOX_OVERDUE = Gauge("darkroom_outbox_overdue_rows", "Outbox rows that should have been published by now.")
OUTBOX_OLDEST = Gauge("darkroom_outbox_oldest_seconds", "How long the oldest of them is overdue.")
SWEPT_AT = Gauge("darkroom_dispatcher_swept_timestamp_seconds", "When this dispatcher last looked at the outbox.")
DEAD_LETTERS = Gauge("darkroom_dead_letters", "Messages that wait for a person.", ["queue"])

# Every process.
ASYNCIO_TASKS = Gauge("darkroom_asyncio_tasks", "Tasks on the event loop.")
UP = Gauge("darkroom_up", "1 while a part that this process needs can be reached.", ["part"])


class SendCounts:
    """How often one who sends did so, and how often not, and why."""

    def __init__(self, by: str) -> None:
        self.sent = SENDS.labels(by, "sent")
        self.away = SENDS.labels(by, "away")
        self.unroutable = SENDS.labels(by, "unroutable")
        self.error = SENDS.labels(by, "error")
