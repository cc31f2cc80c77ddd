"""Messages that nobody of ours would send: hostile bodies, hostile headers, and properties that are no AMQP at all."""

import contextlib
import datetime as dt
import json
import struct
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import aio_pika
from pamqp.commands import Basic

from contracts.events import ProcessingRequested
from contracts.events import encode as encode_event
from tests.builders import an_event
from tests.stack import Stack
from tests.waiting import until

EVENT = encode_event(an_event(ProcessingRequested))
INSTANT = b"2026-01-02T03:04:05.678901Z"
JUNK = b"no event"

BODIES: dict[str, bytes] = {
    "empty": b"",
    "no UTF-8": b"\xff\xfe\xfd",
    "no UTF-8 in a string": EVENT.replace(b"originals", b"\xff\xfe"),
    "half an event": EVENT[:-20],
    "a list": b"[]",
    "an unknown type": b'{"type":"Unheard"}',
    "a type of 100 kB": b'{"type":"' + b"x" * 100_000 + b'"}',
    "nested 200,000 deep": b"[" * 200_000,
    "nested 100,000 deep in a field that is skipped": EVENT[:-1] + b',"x":' + b"[" * 100_000,
    "a version of 40 digits": EVENT.replace(b'"version":1', b'"version":' + b"9" * 40),
    "a version of 1e308": EVENT.replace(b'"version":1', b'"version":1e308'),
    "an attempt beyond every column": EVENT.replace(b'"attempt":1', b'"attempt":3000000000'),
    "an instant without a zone": EVENT.replace(INSTANT, b"2026-01-02T03:04:05"),
    "an instant in the year 300000": EVENT.replace(INSTANT, b"300000-01-02T03:04:05Z"),
    "a megabyte": b" " * 1_000_000 + EVENT,
}

COUNTS: dict[str, object] = {
    "large": 100_000,
    "huge": 2**62,
    "negative": -(2**62),
    "words": "many",
    "bytes": bytearray(b"\xff\x00"),
    "list": [1, 2],
    "table": {"a": 1},
    "bool": True,
    "float": 1e30,
    "instant": dt.datetime(2026, 1, 1, tzinfo=dt.UTC),
    "nothing": None,
}

HEADERS: dict[str, Mapping[str, object]] = {
    **{f"x-delivery-count: {name}": {"x-delivery-count": count} for name, count in COUNTS.items()},
    "CC to the same queue": {"CC": ["validator"]},
    "x-death that is text": {"x-death": "often"},
    "x-reason that is a list": {"x-reason": ["a", "b"], "x-set-aside-at": "2020-01-01"},
    "terminal escapes": {"x-reason": "\x1b[2J\x07", "signature": {"a": "table"}},
    "a traceparent that is a table": {"traceparent": {"a": [1]}},
    "20 kB of headers": {f"h{number}": "x" * 1000 for number in range(20)},
}


class Raw(Basic.Properties):
    """Properties that are on the wire what the test says, whether they are AMQP or not."""

    def __init__(self, flags: int, values: bytes) -> None:
        super().__init__()
        self.raw = struct.pack(">H", flags) + values

    def marshal(self) -> bytes:
        return self.raw


def _table(content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + content


def _nested(depth: int) -> bytes:
    value = b""
    for _ in range(depth):
        value = b"A" + struct.pack(">I", len(value)) + value
    return value


HEADER_FLAG, ID_FLAG, TIME_FLAG, TYPE_FLAG = 0x2000, 0x0080, 0x0040, 0x0020
RAW: dict[str, Raw] = {
    "a timestamp beyond every year": Raw(TIME_FLAG, b"\x7f" + b"\xff" * 7),
    "a negative timestamp": Raw(TIME_FLAG, b"\xff" * 8),
    "a message id that is no UTF-8": Raw(ID_FLAG, b"\xff" + b"\xff" * 255),
    "a type that is no UTF-8": Raw(TYPE_FLAG, b"\x02\xc3\x28"),
    "a header's name that is no UTF-8": Raw(HEADER_FLAG, _table(b"\x01\xff" + b"t\x01")),
    "a header's value that is no UTF-8": Raw(HEADER_FLAG, _table(b"\x01a" + b"S" + _table(b"\xff\xfe"))),
    "an instant beyond every year": Raw(HEADER_FLAG, _table(b"\x01a" + b"T\x7f" + b"\xff" * 7)),
    "lists nested 3,000 deep": Raw(HEADER_FLAG, _table(b"\x01a" + _nested(3_000))),
    "lists nested 20,000 deep": Raw(HEADER_FLAG, _table(b"\x01a" + _nested(20_000))),
    "40,000 headers": Raw(HEADER_FLAG, _table(b"\x01aV" * 40_000)),
    "a double that no float holds": Raw(HEADER_FLAG, _table(b"\x01a" + b"d" + struct.pack(">d", 1e300))),
    "a decimal of 255 places": Raw(HEADER_FLAG, _table(b"\x01a" + b"D\xff\xff\xff\xff\xff")),
}


UNREADABLE: dict[str, tuple[bytes, Basic.Properties | None]] = {
    **{name: (body, None) for name, body in BODIES.items()},
    **{name: (JUNK, Basic.Properties(headers=dict(headers), delivery_mode=2)) for name, headers in HEADERS.items()},
    **{name: (JUNK, properties) for name, properties in RAW.items()},
}
"""Every message here that nobody can read, as body and properties."""


async def publish(
    channel: aio_pika.abc.AbstractChannel,
    queue: str,
    body: bytes,
    properties: Basic.Properties | None = None,
    exchange: str = "",
) -> None:
    """Put a message into a queue, or under a routing key into an exchange, and wait until the broker has it."""
    underlay = await channel.get_underlay_channel()
    properties = properties or Basic.Properties(delivery_mode=2)
    await underlay.basic_publish(body, exchange=exchange, routing_key=queue, properties=properties, mandatory=True)


async def count(channel: aio_pika.abc.AbstractChannel, queue: str) -> int:
    """Count what waits in a queue, without looking at it."""
    declared = await channel.declare_queue(queue, passive=True)
    return declared.declaration_result.message_count or 0


def said(stack: Stack, what: str) -> list[dict[str, object]]:
    """Return the log lines of one kind of a stack whose services are one process."""
    lines = map(json.loads, (stack.folder / "all.log").read_text().splitlines())
    return [line for line in lines if line["event"] == what]


@contextlib.asynccontextmanager
async def a_channel(amqp_url: str) -> AsyncIterator[aio_pika.abc.AbstractChannel]:
    async with await aio_pika.connect(amqp_url) as connection:
        yield await connection.channel(publisher_confirms=True, on_return_raises=True)


@contextlib.asynccontextmanager
async def a_stack(folder: Path, database_url: str, amqp_url: str, **env: str) -> AsyncIterator[Stack]:
    """Run all services in one process, connected."""
    with Stack(folder, database_url, amqp_url, env) as stack:
        stack.start("all")
        stack.wait_ready()
        await until(lambda: said(stack, "broker_connected"), within=60, every=0.1)
        yield stack
