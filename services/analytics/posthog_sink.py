"""PostHog's own library, one capture at a time and to the end: its queue would drop in silence what it cannot send."""

import asyncio
import logging
from typing import TYPE_CHECKING

from services.analytics.captures import Capture
from services.analytics.consumer import SinkError

if TYPE_CHECKING:
    from posthog import Posthog

TIMEOUT = 10
"""Seconds that PostHog has to answer."""


class PosthogSink:
    """Sends to PostHog's capture endpoint. The library blocks, so it is called in a thread."""

    def __init__(self, api_key: str, host: str) -> None:
        self._api_key = api_key
        self._host = host
        self._client: Posthog | None = None

    async def send(self, capture: Capture) -> None:
        """Deliver one capture. Raises SinkError."""
        try:
            await asyncio.to_thread(self._send, capture)
        except Exception as error:
            raise SinkError(type(error).__name__) from error

    def _send(self, capture: Capture) -> None:
        self._connected().capture(
            capture.name,
            distinct_id=capture.distinct_id,
            properties=capture.properties,
            timestamp=capture.timestamp,
            uuid=str(capture.uuid),
        )

    def _connected(self) -> "Posthog":
        if self._client is None:
            from posthog import Posthog  # noqa: PLC0415 — loads requests and more, which an idle consumer does without

            # `debug` is what makes the library raise; what it would print besides is kept quiet.
            self._client = Posthog(
                self._api_key, host=self._host, sync_mode=True, debug=True, max_retries=0, timeout=TIMEOUT
            )
            logging.getLogger("posthog").setLevel(logging.CRITICAL)
        return self._client
