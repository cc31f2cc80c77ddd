"""Whoever may write to the broker can neither stall a queue, nor see a stranger's picture, nor make anything up.

Seen before: 32 messages of these kinds in `validator` held all its slots for ever, with nothing in its dead letters and
nothing in the log; a forged ProcessingRequested completed with the picture of another upload.
"""

import asyncio
import contextlib
import struct
from uuid import uuid4

import aio_pika
import pytest
from pamqp.commands import Basic

from contracts.events import (
    EVENT_TYPES,
    ImageGenerated,
    ImageValidated,
    PreviewWatermarked,
    ProcessingCompleted,
    ProcessingRequested,
    ResultStored,
    UploadRegistered,
    encode,
    routing_key,
)
from shared.messaging.topology import EVENTS, QUEUES, dead
from shared.storage.keys import original_key, preview_key, result_key
from tests.builders import an_event
from tests.e2e.product import count, history
from tests.gemini_server import serving_in_thread
from tests.integration.operations.darkroom import darkroom
from tests.photos import a_jpeg
from tests.posthog_server import serving as serving_posthog
from tests.stack import Stack, eventually

pytestmark = pytest.mark.timeout(180)


class RawProperties(Basic.Properties):
    """Properties as the bytes that they are on the wire, whatever those mean."""

    raw = b""

    def marshal(self):
        return self.raw


def raw(data):
    properties = RawProperties(delivery_mode=2)
    properties.raw = data
    return properties


def headers(**table):
    return Basic.Properties(delivery_mode=2, headers={name.replace("_", "-"): value for name, value in table.items()})


SOUND = encode(an_event(ProcessingRequested, upload_id=uuid4(), version=2))
UNREADABLE = [
    (b"", Basic.Properties()),
    (b"\xff\xfe\x00not UTF-8", Basic.Properties()),
    (b'{"type": "ProcessingRequested", "upload_id": "\xff"}', Basic.Properties()),
    (b"[" * 100_000, Basic.Properties()),
    (b'{"a":' * 50_000 + b"1" + b"}" * 50_000, Basic.Properties()),
    (b'{"type": "ProcessingFinished"}', Basic.Properties()),
    (b'{"type": ' + b'"' + b"x" * 200_000 + b'"}', Basic.Properties()),
    (SOUND.replace(b"Z", b""), Basic.Properties()),
    (SOUND.replace(b'"version":2', b'"version":0'), Basic.Properties()),
    (b"not JSON", headers(x_delivery_count=100_000)),
    (b"not JSON", headers(x_delivery_count=-(2**62))),
    (b"not JSON", headers(x_delivery_count="many")),
    (b"not JSON", headers(x_delivery_count=[{"a": [1]}])),
    (b"not JSON", headers(traceparent=bytearray(b"\xff"), x_reason=["a"], x_queue={"b": 1}, x_death="often")),
    (b"not JSON", headers(**{f"h{n}": "x" * 2_500 for n in range(50)})),
    # Flags and one property each: a timestamp beyond all years, an id that is no UTF-8, an expiration in letters.
    (SOUND, raw(struct.pack(">HQ", 0x0040, 2**63))),
    (SOUND, raw(struct.pack(">HB", 0x0080, 2) + b"\xff\xfe")),
    (SOUND, raw(struct.pack(">HB", 0x0400, 2) + b"\xff\xfe")),
]


@contextlib.asynccontextmanager
async def channel_to(amqp_url):
    async with await aio_pika.connect(amqp_url) as connection, connection.channel() as channel:
        yield channel


async def send(amqp_url, *messages):
    """Send messages, each (exchange, routing key, body, properties)."""
    async with channel_to(amqp_url) as channel:
        underlay = await channel.get_underlay_channel()
        for exchange, key, body, properties in messages:
            await underlay.basic_publish(body, exchange=exchange, routing_key=key, properties=properties)


async def waiting(amqp_url, queue):
    async with channel_to(amqp_url) as channel:
        return (await channel.declare_queue(queue, passive=True)).declaration_result.message_count


async def all_waiting(amqp_url, *queues):
    return sum([await waiting(amqp_url, queue) for queue in queues])


@pytest.fixture
def stack(tmp_path, database_url, amqp_url):
    with Stack(tmp_path, database_url, amqp_url) as running:
        running.start_all()
        yield running


@pytest.mark.parametrize("queue", ["validator", "analytics"])
async def test_messages_that_nobody_can_read_are_dead_letters_with_a_reason_and_hold_nobody_up(queue, stack):
    amqp_url = stack.env["AMQP_URL"]
    sent = UNREADABLE + UNREADABLE[: 36 - len(UNREADABLE)]
    await send(amqp_url, *(("", queue, body, properties) for body, properties in sent))

    client = stack.client()
    upload_id, token = await asyncio.to_thread(client.upload, a_jpeg())
    client.start(upload_id, token)
    assert (await asyncio.to_thread(client.finished, upload_id, token))["status"] == "completed"

    async with asyncio.timeout(60):
        while await waiting(amqp_url, dead(queue)) < len(sent):
            await asyncio.sleep(0.1)
    assert await waiting(amqp_url, queue) == 0
    shown = await darkroom("dead-letters", "list", env={"AMQP_URL": amqp_url})
    assert (shown.status, "unknown" in shown.out) == (0, False)
    told = (stack.folder / f"{queue}.log").read_text()
    assert told.count('"message_dead_lettered"') == len(sent)
    assert "broker_disconnected" not in told


async def test_dead_letters_that_nobody_could_read_can_be_shown_and_put_back(stack):
    amqp_url, env = stack.env["AMQP_URL"], {"AMQP_URL": stack.env["AMQP_URL"], "DATABASE_URL": stack.database_url}
    await send(amqp_url, *(("", dead("storer"), body, properties) for body, properties in UNREADABLE))

    shown = await darkroom("dead-letters", "show", "storer", env=env)
    put_back = await darkroom("dead-letters", "redrive", "storer", "--reason", "again", env=env)

    assert (shown.status, put_back.status) == (0, 0), shown.err + put_back.err
    assert f"storer: {len(UNREADABLE)} put back" in put_back.out
    # Their properties do not go back with them: what has a sound body is a message again, and the rest dies again.
    unreadable = sum(body != SOUND for body, _ in UNREADABLE)
    async with asyncio.timeout(60):
        while await waiting(amqp_url, dead("storer")) < unreadable:
            await asyncio.sleep(0.1)


def forged(kind, upload_id, version, victim):
    """Return an event of a kind over one upload, every key of which is another's."""
    keys = {
        UploadRegistered: {"original_key": original_key(victim), "email": "eve@example.com"},
        ProcessingRequested: {"original_key": original_key(victim)},
        ImageValidated: {"original_key": original_key(victim)},
        ImageGenerated: {"generated_key": original_key(victim)},
        ResultStored: {"result_key": original_key(victim)},
        PreviewWatermarked: {"preview_key": original_key(victim)},
        ProcessingCompleted: {"preview_key": original_key(victim)},
    }
    return an_event(kind, upload_id=upload_id, version=version, **keys.get(kind, {}))


async def test_a_forged_event_of_any_type_to_any_queue_makes_nothing_happen(tmp_path, database_url, amqp_url):
    async with serving_posthog() as posthog:
        with serving_in_thread() as gemini:
            env = {"GENERATOR": "gemini", "GEMINI_API_KEY": "k", "GEMINI_BASE_URL": gemini.url}
            analytics = {"POSTHOG_API_KEY": "k", "POSTHOG_HOST": posthog.url}
            with Stack(tmp_path, database_url, amqp_url, env | analytics) as stack:
                await asyncio.to_thread(stack.start_all)
                await forge_everything(stack, posthog, gemini)


async def forge_everything(stack, posthog, gemini):
    amqp_url = stack.env["AMQP_URL"]
    victim, _ = await asyncio.to_thread(stack.client().upload, a_jpeg())
    upload_id, token = await asyncio.to_thread(stack.client().upload, a_jpeg(64, 64))
    nobody = uuid4()
    signed_by_another = Basic.Properties(delivery_mode=2, headers={"signature": "0" * 64})

    messages = []
    for kind in EVENT_TYPES:
        for target, version in ((upload_id, 2), (upload_id, 7), (nobody, 1), (nobody, 8)):
            body = encode(forged(kind, target, version, victim))
            messages.append((EVENTS.name, routing_key(kind), body, signed_by_another))
            messages += [("", queue, body, None) for queue in QUEUES]
    await send(amqp_url, *messages)
    async with asyncio.timeout(60):
        while await all_waiting(amqp_url, *QUEUES):
            await asyncio.sleep(0.1)
    handled = '"message_skipped"'
    for queue in ("validator", "generator", "storer", "watermarker"):
        told = stack.folder / f"{queue}.log"
        eventually(lambda told=told: told.read_text().count(handled) >= 4 * len(EVENT_TYPES), within=60)

    assert [type(event) for event in history(stack.database_url, upload_id)] == [UploadRegistered]
    assert [type(event) for event in history(stack.database_url, victim)] == [UploadRegistered]
    assert count(stack.database_url, "upload_events") == 2
    assert count(stack.database_url, "uploads") == 2
    objects = (stack.folder / "objects").glob("[!.]*/*")
    assert sorted(path.parent.name for path in objects) == ["originals", "originals"]
    assert (gemini.begun, posthog.received) == (0, [])

    # The upload itself is as it was, and so is the picture that its owner gets.
    client = stack.client()
    client.start(upload_id, token)
    assert (await asyncio.to_thread(client.finished, upload_id, token))["status"] == "completed"
    async with asyncio.timeout(30):
        while len(posthog.unique()) < 2:
            await asyncio.sleep(0.1)


async def test_a_stranger_result_cannot_be_put_under_a_preview_that_is_there(stack):
    amqp_url, client = stack.env["AMQP_URL"], stack.client()
    victim, victims_token = await asyncio.to_thread(client.upload, a_jpeg(200, 100))
    own, token = await asyncio.to_thread(client.upload, a_jpeg(64, 64))
    for upload_id, its_token in ((victim, victims_token), (own, token)):
        client.start(upload_id, its_token)
        await asyncio.to_thread(client.finished, upload_id, its_token)
    *_, stored, _, done = history(stack.database_url, own)
    stranger = next(event for event in history(stack.database_url, victim) if isinstance(event, ResultStored))
    preview = stack.folder / "objects" / preview_key(stored.upload_id, stored.result_id)
    before = preview.read_bytes()

    body = encode(
        an_event(ResultStored, upload_id=own, version=done.version + 1, result_id=stored.result_id,
                 result_key=result_key(stranger.upload_id, stranger.result_id))
    )  # fmt: skip
    await send(amqp_url, (EVENTS.name, routing_key(ResultStored), body, None))

    told = stack.folder / "watermarker.log"
    eventually(lambda: '"message_skipped"' in told.read_text(), within=30)
    assert preview.read_bytes() == before
