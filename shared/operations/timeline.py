"""A run's timeline as an operator may see it: every event, without what names the person."""

from typing import Any

import msgspec

from contracts.events import Event

_IDENTITY = frozenset({"type", "upload_id", "version", "occurred_at", "workflow_run_id", "attempt"})
_PERSONAL = frozenset({"email", "session_token_digest"})


def content_of(event: Event) -> dict[str, Any]:
    """Return what an event says beyond which one it is, as JSON has it; personal fields are left out."""
    content: dict[str, Any] = msgspec.to_builtins(event)
    return {name: value for name, value in content.items() if name not in _IDENTITY | _PERSONAL}
