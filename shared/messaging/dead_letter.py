"""One dead letter: why and when it became one, and how it is as a message again."""

import contextlib
import datetime as dt
from collections.abc import Mapping
from typing import Any

import aio_pika
import msgspec
from aio_pika.abc import AbstractIncomingMessage, DeliveryMode
from pamqp import encode

from shared.messaging.delivery import plain
from shared.messaging.properties import UNREADABLE

REASON, DEAD_LETTERED_AT = "x-reason", "x-set-aside-at"
_DEATH_HEADERS = frozenset(
    {REASON, DEAD_LETTERED_AT, "x-queue", "x-routing-key", "x-death", "x-delivery-count", "x-acquired-count"}
)
"""Headers that tell of a message's death; they do not go on with it."""
_ROUTES = frozenset({"CC", "BCC"})
"""Headers by which the broker delivers a message to further queues: it would be back where it cannot be handled."""
_KEPT = 16 * 1024
"""Bytes of headers that go on with a message: with ours, well within a frame and within what is read of them."""


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A message that could not be handled. `since` is when, as far as it is known; `body` is cut to `show`'s length."""

    queue: str
    message_id: str | None
    correlation_id: str | None
    type: str | None
    reason: str
    since: dt.datetime | None
    body: str


def without_death_headers(message: AbstractIncomingMessage) -> aio_pika.Message:
    """Return the message as it was before it died, as far as that can be sent."""
    return aio_pika.Message(
        message.body,
        headers=kept_headers(message),
        content_type=message.content_type,
        content_encoding=message.content_encoding,
        delivery_mode=DeliveryMode.PERSISTENT,
        message_id=message.message_id,
        correlation_id=message.correlation_id,
        timestamp=message.timestamp,
        type=message.type,
    )


def kept_headers(message: AbstractIncomingMessage) -> dict[str, Any]:
    """Return the headers that go on with a message; none where together they are too long, or cannot be sent again.

    What could be read need not be writable: pamqp reads bytes and large numbers that it refuses to write.
    """
    kept: dict[str, Any] = {
        key: bytearray(value) if isinstance(value, bytes) else value
        for key, value in message.headers.items()
        if not _dropped(key)
    }
    try:
        return kept if len(encode.field_table(kept)) <= _KEPT else {}
    except Exception:  # noqa: BLE001 — whatever a stranger's header makes an encoder raise
        return {}


def _dropped(header: str) -> bool:
    return header in _DEATH_HEADERS | _ROUTES | {UNREADABLE} or header.startswith(("x-first-death-", "x-last-death-"))


def read_dead_letter(message: AbstractIncomingMessage, queue: str, body_length: int) -> DeadLetter:
    """Read what a message says of itself and of its death."""
    body = message.body.decode(errors="replace")
    return DeadLetter(
        queue=queue,
        message_id=message.message_id,
        correlation_id=message.correlation_id,
        type=message.type,
        reason=reason_of(message.headers),
        since=_since(message),
        body=body if len(body) <= body_length else body[:body_length] + " …",
    )


def reason_of(headers: Mapping[str, Any]) -> str:
    """Return why a message is a dead letter: in our words, or else in the broker's."""
    if reason := _text(headers.get(REASON)):
        return reason
    if UNREADABLE in headers:
        return f"properties that cannot be read: {_text(headers[UNREADABLE])}"
    if (death := _first_death(headers)) is None:
        return "unknown"
    return f"{_text(death.get('reason')) or 'unknown'} by the broker in {_text(death.get('queue'))}"


def _since(message: AbstractIncomingMessage) -> dt.datetime | None:
    if dead_letter := _text(message.headers.get(DEAD_LETTERED_AT)):
        with contextlib.suppress(ValueError):
            return _aware(dt.datetime.fromisoformat(dead_letter))
    died = (_first_death(message.headers) or {}).get("time")
    return died if isinstance(died, dt.datetime) else message.timestamp


def _aware(instant: dt.datetime) -> dt.datetime:
    return instant if instant.tzinfo else instant.replace(tzinfo=dt.UTC)


def _first_death(headers: Mapping[str, Any]) -> Mapping[str, Any] | None:
    deaths = headers.get("x-death")
    return deaths[0] if isinstance(deaths, list) and deaths and isinstance(deaths[0], dict) else None


def _text(value: object) -> str:
    return plain(value.decode(errors="replace") if isinstance(value, bytes) else value or "")
