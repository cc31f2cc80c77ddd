"""What a provider's calls count as, and cost."""

import asyncio

import pytest
from prometheus_client import REGISTRY

from services.generator.metered import MeteredProvider
from services.generator.provider import GeneratedImage
from shared.upload.errors import FinalFailure, RetryableFailure

PICTURE = GeneratedImage(data=b"...", content_type="image/png")


class Provider:
    """Ends as it was told."""

    name = "painter"

    def __init__(self, model, ending):
        self.model = model
        self.ending = ending

    async def generate(self, image, content_type):
        if isinstance(self.ending, BaseException):
            raise self.ending
        return self.ending


def shown(model, outcome):
    labels = {"provider": "painter", "model": model}
    calls = REGISTRY.get_sample_value("darkroom_provider_calls_total", {**labels, "outcome": outcome})
    return calls, REGISTRY.get_sample_value("darkroom_provider_cost_usd_total", labels)


@pytest.mark.parametrize(
    ("ending", "outcome", "cost"),
    [
        (PICTURE, "ok", 0.04),
        (RetryableFailure("PROVIDER_TIMED_OUT", "Later.", outcome_unknown=True), "unknown", 0.04),
        (asyncio.CancelledError(), "unknown", 0.04),
        (KeyError("a bug"), "unknown", 0.04),
        (RetryableFailure("PROVIDER_UNAVAILABLE", "Later."), "failed", 0),
        (FinalFailure("PROVIDER_REFUSED", "No."), "refused", 0),
    ],
)
async def test_a_call_that_may_be_billed_costs_and_no_other(ending, outcome, cost, request):
    model = request.node.callspec.id
    provider = MeteredProvider(Provider(model, ending), 0.04)
    if ending is PICTURE:
        assert await provider.generate(b"", "image/png") is PICTURE
    else:
        with pytest.raises(type(ending)):
            await provider.generate(b"", "image/png")
    assert shown(model, outcome) == (1, cost)
    assert (provider.name, provider.model) == ("painter", model)
