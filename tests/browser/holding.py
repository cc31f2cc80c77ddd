"""Stopping a run where a test wants to look at it."""

import contextlib
import signal
from collections.abc import Iterator

from tests.stack import Stack


@contextlib.contextmanager
def held(services: Stack, name: str) -> Iterator[None]:
    """Freeze a service while the block runs: what reaches its stage stays there."""
    services.signal(name, signal.SIGSTOP)
    try:
        yield
    finally:
        services.signal(name, signal.SIGCONT)
