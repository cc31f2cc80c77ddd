"""Messages that nobody can read, on a real broker: none stalls a queue, ends a connection, or goes without a word.

Before: a message that raised anything but a DecodeError was never settled. A stage takes 32 at a time, so that with 32
such messages an honest run stayed `validating` for good, with nothing in `validator.dead` and nothing in the log. Eight
of the properties below ended the connection instead, with all that was in hand, and did so again when it was back.
"""

import contextlib

import aio_pika
import pytest

from shared.messaging.dead_letter_queues import open_dead_letters
from shared.messaging.topology import dead
from tests.attacks.hostile import JUNK, UNREADABLE, a_channel, a_stack, count, publish, said
from tests.integration.operations.darkroom import darkroom
from tests.photos import a_jpeg
from tests.posthog_server import serving
from tests.waiting import until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

WHY = ("--reason", "an attack", "--by", "ann")


def an_honest_run(stack):
    client = stack.client()
    upload, token = client.upload(a_jpeg())
    assert client.start(upload, token).status_code == 202
    return client.finished(upload, token, within=60)["status"]


@pytest.mark.parametrize("queue", ["validator", "analytics"])
async def test_messages_that_nobody_can_read_are_dead_letters_with_a_reason_and_the_queue_goes_on(
    tmp_path, database_url, amqp_url, queue
):
    async with (
        serving() as posthog,
        a_stack(tmp_path, database_url, amqp_url, POSTHOG_API_KEY="phc_test", POSTHOG_HOST=posthog.url) as stack,
        a_channel(amqp_url) as channel,
    ):
        for body, properties in UNREADABLE.values():
            await publish(channel, queue, body, properties)
        assert an_honest_run(stack) == "completed"

        async def all_dead():
            return await count(channel, dead(queue)) == len(UNREADABLE)

        await until(all_dead, within=60, every=0.1)
        await until(lambda: len(posthog.unique()) == 2, within=30)
        async with open_dead_letters(amqp_url) as letters:
            reasons = [letter.reason for letter in await letters.show(queue, limit=100)]
        assert len(UNREADABLE) >= 33
        assert [reason for reason in reasons if not reason.startswith("cannot be read: ")] == []
        assert [line["queue"] for line in said(stack, "message_dead_lettered")].count(queue) == len(UNREADABLE)
        assert said(stack, "broker_disconnected") == []
        assert await count(channel, queue) == 0


async def test_dead_letters_of_any_kind_can_be_listed_shown_and_put_back(tmp_path, database_url, amqp_url):
    async with a_stack(tmp_path, database_url, amqp_url) as stack, a_channel(amqp_url) as channel:
        for body, properties in UNREADABLE.values():
            await publish(channel, dead("storer"), body, properties)  # as they came, with nothing mended on the way

        listed = await darkroom("dead-letters", "list", env=stack.env)
        shown = await darkroom("dead-letters", "show", "storer", "--limit", "100", env=stack.env)
        driven = await darkroom("dead-letters", "redrive", "storer", *WHY, env=stack.env)

        async def all_dead_again():
            return await count(channel, dead("storer")) == len(UNREADABLE)

        await until(all_dead_again, within=60, every=0.1)
    assert listed.status == shown.status == driven.status == 0, (listed, shown, driven)
    assert f"storer: {len(UNREADABLE)} put back" in driven.out
    assert shown.out.count("storer  ") == len(UNREADABLE)
    assert "\x1b" not in listed.out + shown.out


async def test_a_routing_key_that_is_no_text_does_not_end_the_connection(tmp_path, database_url, amqp_url):
    async with a_stack(tmp_path, database_url, amqp_url) as stack, a_channel(amqp_url) as channel:
        underlay = await channel.get_underlay_channel()
        properties = aio_pika.Message(b"", headers={"CC": ["validator"]}).properties
        with _any_short_string():
            await underlay.basic_publish(JUNK, exchange="", routing_key="\udcff\udcfe", properties=properties)

        async def there():
            return await count(channel, dead("validator")) == 1

        await until(there, within=30, every=0.1)
        assert an_honest_run(stack) == "completed"
        assert said(stack, "broker_disconnected") == []


@contextlib.contextmanager
def _any_short_string():
    """Have pamqp write what no UTF-8 is, as another client would."""
    from pamqp import encode  # noqa: PLC0415

    before = encode.METHODS["shortstr"]
    encode.METHODS["shortstr"] = lambda text: bytes([len(text)]) + text.encode(errors="surrogateescape")
    try:
        yield
    finally:
        encode.METHODS["shortstr"] = before
