"""Generator: a validated photo in, the AI provider's picture out."""

import os
import socket
from functools import partial

from contracts.events import Stage
from services.generator.gemini import DEFAULT_BASE_URL, GeminiProvider
from services.generator.handler import CallPolicy, generate_picture
from services.generator.local import LocalProvider
from services.generator.provider import Provider
from shared.bootstrap import Runtime
from shared.settings import Generator


def attach(runtime: Runtime) -> None:
    """Run the generating stage in this process."""
    settings = runtime.settings.generator
    policy = CallPolicy(
        worker=f"{socket.gethostname()}:{os.getpid()}",
        timeout=settings.generator_timeout,
        max_unknown=settings.generator_max_unknown,
    )
    runtime.attach_stage(
        Stage.GENERATING,
        partial(
            generate_picture,
            objects=runtime.objects,
            cpu=runtime.cpu,
            provider=_provider(settings, runtime),
            policy=policy,
        ),
    )


def _provider(settings: Generator, runtime: Runtime) -> Provider:
    if settings.generator == "local":
        return LocalProvider(runtime.cpu)
    return GeminiProvider(
        settings.gemini_api_key,
        settings.gemini_model,
        settings.gemini_base_url or DEFAULT_BASE_URL,
        settings.generator_timeout,
    )
