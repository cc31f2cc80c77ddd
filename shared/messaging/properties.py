"""Whatever stands in a message's properties, the message is delivered, and says itself that they cannot be read.

pamqp raises on such properties in the connection's reader: that ends the connection, again with every redelivery, and
each time all that is in flight is redelivered with it. aio-pika raises on others in a task that nobody waits for: that
message is never settled. Both happen before any code of ours is called, and neither library has a hook for it, so two
functions of pamqp are replaced.
"""

import struct

from aio_pika.abc import DeliveryMode
from aio_pika.message import decode_expiration
from pamqp import decode
from pamqp.commands import Basic
from pamqp.header import ContentHeader

UNREADABLE = "x-unreadable"
"""Header that stands in for the properties that could not be read, and says why."""
LONGEST = 32 * 1024
"""Bytes of properties that are read. pamqp takes time by the square of their length; ours are a few hundred."""
_FIXED = 12
"""Bytes before the properties: class, weight, and the body's size."""

_unmarshal = ContentHeader.unmarshal


def tolerate_any_properties() -> None:
    """Have every AMQP connection of this process deliver every message. It may be called again."""
    decode.METHODS["shortstr"] = _short_string
    ContentHeader.unmarshal = _read  # type: ignore[assignment, method-assign]  # see above


def _read(header: ContentHeader, data: bytes) -> None:
    """Do what pamqp does; where that raises, take the size of the body alone. Raises where not even that is there."""
    try:
        _read_all(header, data)
    except Exception as error:
        if len(data) < _FIXED:
            raise
        header.class_id, header.weight, header.body_size = struct.unpack(">HHQ", data[:_FIXED])
        header.properties = Basic.Properties(headers={UNREADABLE: f"{type(error).__name__}: {error}"})


def _read_all(header: ContentHeader, data: bytes) -> None:
    if len(data) > LONGEST:
        raise ValueError(f"{len(data)} bytes")
    _unmarshal(header, data)
    # What aio-pika makes of them, in the constructor of its message.
    DeliveryMode(header.properties.delivery_mode or DeliveryMode.NOT_PERSISTENT)
    decode_expiration(header.properties.expiration)


def _short_string(value: bytes) -> tuple[int, str]:
    """Read a string of up to 255 bytes; what is not UTF-8 in it becomes `?`, so that it grows no longer.

    Not only properties are such strings, but also the routing key that a delivery names, which a publisher chooses.
    """
    if not value:
        raise ValueError("a string is missing")
    end = value[0] + 1
    text = value[1:end]
    try:
        return end, text.decode()
    except UnicodeDecodeError:
        return end, text.decode(errors="replace").replace("\ufffd", "?")
