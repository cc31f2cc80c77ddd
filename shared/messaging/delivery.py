"""From a delivery, in which nothing is believed, to a message; and how often the broker has delivered it before."""

from aio_pika.abc import AbstractIncomingMessage

from contracts.events import decode
from shared.messaging.message import Message
from shared.messaging.properties import UNREADABLE
from shared.messaging.signature import HEADER, Signer
from shared.messaging.topology import DELIVERY_LIMIT, EVENTS
from shared.observability import traces

MAX_BODY = 256 * 1024
"""Bytes of a body that are read. An event has a few hundred."""
_TEXT = 300
"""Characters of a stranger's text that are repeated."""


class UnreadableMessageError(Exception):
    """The delivery holds no event that can be read."""


def read(delivery: AbstractIncomingMessage, signer: Signer) -> Message:
    """Read a delivery. Raises UnreadableMessageError, and whatever else hostile bytes have a decoder raise."""
    headers = delivery.headers
    if UNREADABLE in headers:
        raise UnreadableMessageError(f"properties: {plain(headers[UNREADABLE])}")
    if len(delivery.body) > MAX_BODY:
        raise UnreadableMessageError(f"a body of {len(delivery.body)} bytes")
    event = decode(delivery.body)
    fresh = not delivery.redelivered and delivery.exchange == EVENTS.name
    return Message(
        event=event,
        traceparent=traces.checked(headers.get("traceparent")),
        fresh=fresh and signer.verifies(delivery.body, headers.get(HEADER)),
    )


def redeliveries(delivery: AbstractIncomingMessage) -> int:
    """Return how often the broker says that it has delivered a message before this time, from 0 to its limit.

    RabbitMQ writes `x-delivery-count` over what a publisher put there, but only from the second delivery on; and from
    4.3 on not even then where no delivery failed. So what stands there is bounded, and of no account the first time.
    """
    count = delivery.headers.get("x-delivery-count")
    if not delivery.redelivered or not isinstance(count, int):
        return 0
    return min(max(count, 0), DELIVERY_LIMIT)


def plain(text: object) -> str:
    """Return a stranger's text as it may stand in a log line or a header: short, and without control characters."""
    return "".join(char if char.isprintable() else "?" for char in str(text)[:_TEXT])
