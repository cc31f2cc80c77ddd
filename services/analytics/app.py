"""Analytics: starts, ends and failures in, PostHog captures out."""

from services.analytics.consumer import AnalyticsConsumer
from services.analytics.posthog_sink import PosthogSink
from shared.bootstrap import Runtime
from shared.upload.saga import ANALYTICS_QUEUE

CONCURRENCY = 16


def attach(runtime: Runtime) -> None:
    """Read the analytics queue in this process."""
    settings = runtime.settings.analytics
    sink = PosthogSink(settings.posthog_api_key, settings.posthog_host) if settings.posthog_api_key else None
    runtime.attach_consumer(ANALYTICS_QUEUE, AnalyticsConsumer(runtime.store, sink), concurrency=CONCURRENCY)
