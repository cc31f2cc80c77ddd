"""Generator: a validated photo in, the AI provider's picture out."""

import os
import socket
from functools import partial

from contracts.events import Stage
from services.generator.gemini import GeminiProvider
from services.generator.handler import CallPolicy, generate_picture
from services.generator.local import LocalProvider
from services.generator.metered import MeteredProvider
from services.generator.provider import Provider
from shared.bootstrap import Runtime
from shared.settings import Generator, SettingsError

PROVIDER_DOWN = frozenset(
    {"PROVIDER_UNAVAILABLE", "PROVIDER_UNREACHABLE", "PROVIDER_TIMED_OUT", "PROVIDER_RATE_LIMITED", "STAGE_TIMED_OUT"}
)
"""Failures that say the provider is down or wants peace, so that the next run would fare no better."""


def attach(runtime: Runtime) -> None:
    """Run the generating stage in this process."""
    settings = runtime.settings.generator
    policy = CallPolicy(
        worker=f"{socket.gethostname()}:{os.getpid()}",
        timeout=settings.generator_timeout,
        max_unknown=settings.generator_max_unknown,
    )
    provider = _provider(settings, runtime)
    cost = 0.0 if settings.generator == "local" else runtime.settings.operators.provider_call_cost
    runtime.attach_stage(
        Stage.GENERATING,
        partial(
            generate_picture,
            objects=runtime.objects,
            cpu=runtime.cpu,
            provider=MeteredProvider(provider, cost),
            policy=policy,
        ),
        down_codes=PROVIDER_DOWN,
    )


def _provider(settings: Generator, runtime: Runtime) -> Provider:
    if settings.generator == "local":
        return LocalProvider(runtime.cpu)
    try:
        provider = GeminiProvider(
            settings.gemini_api_key, settings.gemini_model, settings.gemini_base_url, settings.generator_timeout
        )
    except ValueError as error:
        raise SettingsError([f"GEMINI_…: {error}"]) from error
    runtime.at_end(provider.close)
    return provider
