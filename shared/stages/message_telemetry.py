"""A consumer, watched: what is logged, counted and traced of every message, whichever way it came."""

from contracts.events import StageAttemptFailed
from shared.clock import utc_now
from shared.messaging.message import Consumer, Message
from shared.observability import logs, traces
from shared.observability.metrics import MESSAGES_IN_FLIGHT, QUEUE_LAG


class MeasuredConsumer:
    """Hands messages through to `consumer`."""

    def __init__(self, queue: str, consumer: Consumer) -> None:
        self._queue = queue
        self._consumer = consumer
        self._in_flight = MESSAGES_IN_FLIGHT.labels(queue)
        self._lag = QUEUE_LAG.labels(queue)

    async def handle(self, message: Message) -> None:
        event = message.event
        due_at = event.retry_at if isinstance(event, StageAttemptFailed) else event.occurred_at
        self._lag.observe(max((utc_now() - due_at).total_seconds(), 0.0))
        logs.about(event, self._queue)
        with self._in_flight.track_inprogress(), traces.consume(event, self._queue, message.traceparent):
            await self._consumer.handle(message)
