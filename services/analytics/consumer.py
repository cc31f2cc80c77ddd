"""ProcessingRequested, ProcessingCompleted, ProcessingFailed → PostHog, each occurrence once. No run waits for it."""

import asyncio
from typing import Protocol

import structlog

from services.analytics.captures import Capture, capture_of
from shared.eventstore.store import EventStore
from shared.jitter import jittered_sleep
from shared.messaging.message import Message, RefusedMessageError

log = structlog.get_logger(__name__)

PAUSE_FIRST, PAUSE_MAX = 1.0, 60.0
"""Seconds between tries while PostHog is away: doubling from the first to the last, with jitter."""
PATIENCE = 15 * 60.0
"""Seconds that a message is held. RabbitMQ takes one back by itself after 30 minutes."""


class Sink(Protocol):
    """Where captures go."""

    async def send(self, capture: Capture) -> None:
        """Deliver one capture. Raises SinkError where it may go through later."""
        ...


class SinkError(Exception):
    """Analytics could not be reached, or did not take the capture."""


class AnalyticsConsumer:
    """Reads the analytics queue. Without a sink there is nothing to tell, and messages are taken as read."""

    def __init__(self, store: EventStore, sink: Sink | None) -> None:
        self._store = store
        self._sink = sink
        self._away = False

    async def handle(self, message: Message) -> None:
        """Capture what the event says; a repetition carries the same uuid.

        Raises RefusedMessageError where no such event is recorded, and SinkError when patience ends.
        """
        if self._sink is None:
            return
        history = await self._store.history(message.event.upload_id)
        if message.event not in history:
            raise RefusedMessageError("no such event is recorded")
        capture = capture_of(message.event, history)
        if capture is not None:
            await self._deliver(self._sink, capture)

    async def _deliver(self, sink: Sink, capture: Capture) -> None:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + PATIENCE
        pause = PAUSE_FIRST
        while True:
            try:
                await sink.send(capture)
            except SinkError as error:
                self._note(away=True, error=str(error))
                if loop.time() + pause > deadline:
                    raise
            else:
                self._note(away=False)
                return
            await jittered_sleep(pause)
            pause = min(pause * 2, PAUSE_MAX)

    def _note(self, *, away: bool, error: str = "") -> None:
        """Say once when PostHog goes away, and once when it is back."""
        if away is not self._away:
            log.warning("analytics_unreachable", error=error) if away else log.info("analytics_reachable")
        self._away = away
