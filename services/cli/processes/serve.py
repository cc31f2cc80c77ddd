"""`darkroom serve NAME`: one service, or all of them, over RabbitMQ."""

import asyncio
import gc
from importlib import import_module

import structlog

from shared.bootstrap import Runtime, rabbit_runtime, stop_on_signals
from shared.settings import EVERYTHING, Settings, SettingsError
from shared.upload.saga import SERVICES

log = structlog.get_logger(__name__)


async def serve(settings: Settings, name: str) -> None:
    """Run until SIGTERM or SIGINT, then finish or give back what is under way. Raises SettingsError."""
    missing = [
        f"{setting} is not set"
        for setting, value in (
            ("DATABASE_URL", settings.database.database_url),
            ("AMQP_URL", settings.broker.amqp_url),
        )
        if not value
    ]
    if missing:
        raise SettingsError(missing)
    stop = asyncio.Event()
    stop_on_signals(stop)
    runtime = rabbit_runtime(settings, public_url=public_url(settings), service=name)
    attach(runtime, SERVICES if name == EVERYTHING else (name,))
    for warning in settings.warnings:
        log.warning("setting_warning", why=warning)
    _spare_the_collector()
    log.info("serving")
    await runtime.run(stop)
    log.info("stopped")


def attach(runtime: Runtime, names: tuple[str, ...]) -> None:
    """Attach services by name; only those that run are loaded, which is what keeps an idle process small."""
    for name in names:
        import_module(f"services.{name}.app").attach(runtime)


def _spare_the_collector() -> None:
    """Keep the garbage collector from walking what was loaded at start: a twentieth of a stage's time.

    Its third generation still comes round every few thousand messages: a cycle of references may hold a picture.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 10, 10)


def public_url(settings: Settings) -> str:
    """Return the URL under which clients reach the gateway."""
    return settings.objects.public_url or f"http://{settings.process.host}:{settings.process.port}"
