"""Message properties that cannot be decoded cost their message, and not the connection.

The AMQP library decodes a delivery's properties in the task that reads the connection: a timestamp beyond the year 9999
or an id that is no UTF-8, both legal on the wire, end that task, and with it the connection for all queues. The broker
delivers the message again, and so on. Seen with pamqp 4.0 and aiormq 7.
"""

from typing import Any

from pamqp.commands import Basic

UNREADABLE = "x-unreadable-properties"
"""The header that a message has, and no other, whose properties cannot be decoded: it says why."""

_decode = Basic.Properties.unmarshal


def install() -> None:
    """Have this process read such messages with that header in the place of their properties."""
    Basic.Properties.unmarshal = _lenient_decode  # type: ignore[method-assign, assignment]


def _lenient_decode(properties: Any, flags: int, data: bytes) -> None:
    try:
        _decode(properties, flags, data)
    except Exception as error:  # noqa: BLE001 — whatever a publisher made of them, the connection goes on
        for name in properties.__slots__:
            setattr(properties, name, None)
        properties.headers = {UNREADABLE: type(error).__name__}
