"""A provider whose calls are counted, timed, priced and traced."""

import time

from services.generator.provider import GeneratedImage, Provider
from shared.observability import traces
from shared.observability.metrics import PROVIDER_CALLS, PROVIDER_COST, PROVIDER_SECONDS
from shared.upload.errors import FinalFailure, RetryableFailure

BILLED = frozenset({"ok", "unknown"})
"""Outcomes of calls that have drawn a picture, or may have."""


class MeteredProvider:
    """Calls `provider`; each call that may be billed counts as `cost` US dollars."""

    def __init__(self, provider: Provider, cost: float) -> None:
        self.name, self.model = provider.name, provider.model
        self._provider = provider
        self._cost = cost
        self._price = PROVIDER_COST.labels(self.name, self.model)
        self._seconds = PROVIDER_SECONDS.labels(self.name)

    async def generate(self, image: bytes, content_type: str) -> GeneratedImage:
        began = time.monotonic()
        outcome = "unknown"  # Also where it is cancelled, or fails as nobody foresaw.
        try:
            with traces.call(self.name, self.model):
                picture = await self._provider.generate(image, content_type)
            outcome = "ok"
        except FinalFailure:
            outcome = "refused"
            raise
        except RetryableFailure as failure:
            outcome = "unknown" if failure.outcome_unknown else "failed"
            raise
        finally:
            self._seconds.observe(time.monotonic() - began)
            PROVIDER_CALLS.labels(self.name, self.model, outcome).inc()
            if outcome in BILLED:
                self._price.inc(self._cost)
        return picture
