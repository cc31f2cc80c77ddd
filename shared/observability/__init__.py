"""What a process tells about itself: logs, metrics, traces, and whether it is well."""

from shared.observability.logs import configure_logging

__all__ = ["configure_logging"]
