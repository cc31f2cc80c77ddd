"""Dead letters on a real broker: set aside, looked at, put back, thrown away."""

import contextlib

import aio_pika
import pytest

from contracts.events import Stage, encode
from shared.bootstrap import rabbit_runtime
from shared.messaging.dead_letter_queues import UnknownQueueError, open_dead_letters
from shared.messaging.topology import dead
from tests.integration.operations.darkroom import ACTOR, darkroom
from tests.integration.operations.failed_runs import Saga, failed_run, running, settings_for, store_runs, until

WHY = ("--reason", "fixed", "--by", "ann")


@contextlib.asynccontextmanager
async def consuming(database_url, amqp_url, folder, saga):
    """Run the stages over the broker, which declares the topology."""
    runtime = rabbit_runtime(settings_for(database_url, folder, AMQP_URL=amqp_url), public_url="http://127.0.0.1:1")
    saga.attach(runtime)
    async with running(runtime) as context:
        await until(lambda: runtime.transport.up)
        yield context


@contextlib.asynccontextmanager
async def channel_to(amqp_url):
    async with await aio_pika.connect(amqp_url) as connection:
        yield await connection.channel()


async def publish(amqp_url, queue, *bodies, **properties):
    async with channel_to(amqp_url) as channel:
        for body in bodies:
            await channel.default_exchange.publish(aio_pika.Message(body, **properties), queue)


async def counted(amqp_url, queue):
    async with open_dead_letters(amqp_url) as letters:
        return sum(each.messages for each in await letters.overview(queue))


async def test_a_message_that_cannot_be_read_is_shown_with_its_reason_and_age(database_url, amqp_url, tmp_path):
    env = {"AMQP_URL": amqp_url}
    async with consuming(database_url, amqp_url, tmp_path, Saga()):
        await publish(amqp_url, "storer", b"no event", message_id="m1", type="ImageGenerated")

        async def there():
            return await counted(amqp_url, "storer") == 1

        await until(there)
        listed = await darkroom("dead-letters", "list", env=env)
        shown = await darkroom("dead-letters", "show", "storer", env=env)
    assert listed.status == shown.status == 0, (listed, shown)
    [row] = [line for line in listed.out.splitlines() if "cannot be read" in line]
    assert "storer" in row
    assert any(f" {seconds} s" in row for seconds in range(60))
    for words in ("m1", "ImageGenerated", "cannot be read", "no event"):
        assert words in shown.out


async def test_looking_takes_nothing_away_however_often(database_url, amqp_url, tmp_path):
    async with consuming(database_url, amqp_url, tmp_path, Saga()):
        await publish(amqp_url, dead("storer"), b"one", b"two", b"three")
        async with open_dead_letters(amqp_url) as letters:

            async def all_there():
                return (await letters.overview("storer"))[0].messages == 3

            for _ in range(30):
                await until(all_there)
                shown = await letters.show("storer", limit=10)
                assert [letter.body for letter in shown] == ["one", "two", "three"]
            await until(all_there)


async def test_a_redriven_message_is_handled_as_if_it_had_never_died(database_url, amqp_url, tmp_path):
    saga = Saga()
    run = failed_run()[:-1]
    [upload_id] = store_runs(database_url, [run])
    env = {"AMQP_URL": amqp_url, "DATABASE_URL": database_url}
    async with consuming(database_url, amqp_url, tmp_path, saga) as context:
        headers = {"x-reason": "a bug", "traceparent": "00-1-2-01"}
        await publish(amqp_url, dead("storer"), encode(run[-1]), message_id=run[-1].message_id, headers=headers)
        said = await darkroom("dead-letters", "redrive", "storer", *WHY, env=env)
        assert said.status == 0, said
        await until(lambda: (Stage.WATERMARKING, upload_id) in saga.done)
        assert await counted(amqp_url, None) == 0
        [noted] = await context.audit_log.latest(10)
    assert "storer: 1 put back" in said.out
    assert (noted.who, noted.what, noted.why, noted.details["redriven"]) == (
        ACTOR, "dead-letters.redrive", "fixed", {"storer": 1},
    )  # fmt: skip


async def test_what_dies_again_dies_of_its_new_reason_and_keeps_what_else_it_carried(database_url, amqp_url, tmp_path):
    async with consuming(database_url, amqp_url, tmp_path, Saga()):
        await publish(amqp_url, "storer", b"bad 1", b"bad 2", b"bad 3", headers={"kept": "yes"})

        async def there():
            # Not by looking at them, as the overview does: what is looked at goes back a moment later.
            async with channel_to(amqp_url) as channel:
                return (await channel.declare_queue(dead("storer"), passive=True)).declaration_result.message_count == 3

        await until(there)
        async with open_dead_letters(amqp_url) as letters:
            assert await letters.redrive("storer", limit=2) == {"storer": 2}
            await until(there)
            assert await letters.redrive("storer") == {"storer": 3}
            await until(there)
        async with channel_to(amqp_url) as channel:
            message = await (await channel.declare_queue(dead("storer"), passive=True)).get()
    assert message.headers["kept"] == "yes"
    assert str(message.headers["x-reason"]).startswith("cannot be read")


async def test_a_message_that_the_broker_gave_up_on_names_the_brokers_reason(database_url, amqp_url, tmp_path):
    async with consuming(database_url, amqp_url, tmp_path, Saga()):
        await publish(amqp_url, "analytics", b"x")
        async with channel_to(amqp_url) as channel:
            await (await (await channel.declare_queue("analytics", passive=True)).get()).reject(requeue=False)

            async def there():
                return await counted(amqp_url, "analytics") == 1

            await until(there)
        async with open_dead_letters(amqp_url) as letters:
            [letter] = await letters.show("analytics.dead", limit=1)
    assert letter.reason == "rejected by the broker in analytics"
    assert letter.since is not None


async def test_a_purge_needs_a_word_and_is_noted(database_url, amqp_url, tmp_path):
    env = {"AMQP_URL": amqp_url, "DATABASE_URL": database_url}
    async with consuming(database_url, amqp_url, tmp_path, Saga()) as context:
        await publish(amqp_url, dead("storer"), b"one", b"two")
        await publish(amqp_url, dead("validator"), b"three")
        unsaid = await darkroom("dead-letters", "purge", "storer", *WHY, env=env)
        assert (unsaid.status, "--yes" in unsaid.err) == (2, True)
        assert await context.audit_log.latest(10) == []
        said = await darkroom("dead-letters", "purge", "storer", "--yes", *WHY, env=env)
        assert (said.status, "storer: 2 thrown away" in said.out) == (0, True), said
        assert await counted(amqp_url, None) == 1
        [noted] = await context.audit_log.latest(10)
    assert (noted.what, noted.details) == ("dead-letters.purge", {"queue": "storer", "purged": {"storer": 2}})


async def test_an_unknown_queue_and_an_absent_broker_are_said_in_one_line(database_url, amqp_url):
    gone = {"AMQP_URL": "amqp://guest:guest@127.0.0.1:1/", "DATABASE_URL": database_url}
    unknown = await darkroom("dead-letters", "list", "painter", env={"AMQP_URL": amqp_url})
    away = await darkroom("dead-letters", "redrive", *WHY, env=gone)
    unset = await darkroom("dead-letters", "list", env={})
    assert (unknown.status, "there is no queue 'painter'" in unknown.err) == (2, True)
    assert (away.status, away.err.count("\n"), "cannot be reached" in away.err) == (1, 1, True), away
    assert (unset.status, "AMQP_URL is not set" in unset.err) == (2, True)
    async with open_dead_letters(amqp_url) as letters:
        assert {each.messages for each in await letters.overview()} == {0}
        with pytest.raises(UnknownQueueError):
            await letters.redrive("painter")
