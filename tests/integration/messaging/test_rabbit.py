"""RabbitMQ as it is used: what a message carries, where it ends when it cannot be handled, and what an outage costs."""

import asyncio
import contextlib
import datetime as dt

import aio_pika
import pytest

from contracts.events import (
    EVENT_TYPES,
    GenerationStarted,
    ImageValidated,
    ProcessingRequested,
    StageAttemptFailed,
    encode,
    routing_key,
)
from shared.eventstore.outbox import EXCHANGE, OutboxRow
from shared.messaging import queue_consumer, rabbit_transport
from shared.messaging.message import RefusedMessageError, TransportDownError, UnroutableError
from shared.messaging.rabbit_transport import RabbitTransport
from shared.messaging.signature import Signer
from shared.messaging.topology import DELIVERY_LIMIT, EVENTS, QUEUES, bindings, dead
from tests.builders import NOW, RUN, UPLOAD, an_event
from tests.stack import SIGNING_KEY
from tests.waiting import until

TRACE = "00-" + "1" * 32 + "-" + "2" * 16 + "-01"


class Reader:
    """A consumer that notes what it got and when, and ends as it was told."""

    def __init__(self, error=None):
        self.error = error
        self.got = []
        self.times = []
        self.go = asyncio.Event()
        self.go.set()

    async def handle(self, message):
        self.got.append(message)
        self.times.append(asyncio.get_running_loop().time())
        await self.go.wait()
        if self.error:
            raise self.error


@contextlib.asynccontextmanager
async def connected(url, grace=5.0, signing_key=SIGNING_KEY, **readers):
    """Return a transport that reads these queues; what it handles when the block ends has `grace` seconds."""
    transport = RabbitTransport(url, grace=grace, signing_key=signing_key)
    for queue, reader in readers.items():
        transport.consume(queue, reader, concurrency=4)
    await transport.start()
    try:
        yield transport
    finally:
        await transport.stop_consuming()
        await transport.close()


@contextlib.asynccontextmanager
async def looking(url):
    """Return a plain channel, to look at queues and to put things into them."""
    connection = await aio_pika.connect(url)
    async with connection, connection.channel() as channel:
        yield channel


async def count(url, queue):
    async with looking(url) as channel:
        declared = await channel.declare_queue(queue, passive=True)
        return declared.declaration_result.message_count


async def taken(url, queue):
    """Wait for a message in a queue, and take it."""
    async with looking(url) as channel:
        found = await channel.declare_queue(queue, passive=True)
        message = None
        while message is None:
            message = await found.get(no_ack=True, fail=False)
        return message


async def put(url, queue, body, **properties):
    async with looking(url) as channel:
        message = aio_pika.Message(body, delivery_mode=2, **properties)
        await channel.default_exchange.publish(message, routing_key=queue)


def ours(headers):
    """Leave out what the broker adds."""
    return {name: value for name, value in headers.items() if not name.startswith("x-")}


def a_row(kind=ProcessingRequested, target=EXCHANGE, **content):
    return OutboxRow(event=an_event(kind, **content), target=target, available_at=NOW, now=True)


async def test_any_number_of_processes_may_declare_the_topology_at_once_and_again(amqp_url):
    async with contextlib.AsyncExitStack() as stack:
        await asyncio.gather(*(stack.enter_async_context(connected(amqp_url)) for _ in range(6)))

        async with connected(amqp_url) as late:
            assert late.up


async def test_every_event_that_somebody_wants_reaches_its_queues_and_no_other(amqp_url):
    wanted = {kind: {queue for queue, key in bindings() if key == routing_key(kind)} for kind in EVENT_TYPES}
    async with connected(amqp_url) as transport:
        for kind, queues in wanted.items():
            if not queues:
                continue
            await transport.send(a_row(kind))

            found = {queue for queue in QUEUES if await count(amqp_url, queue)}
            assert found == queues, kind
            for queue in queues:
                await taken(amqp_url, queue)


async def test_an_event_that_no_queue_wants_is_a_fault_and_not_a_silence(amqp_url):
    async with connected(amqp_url) as transport:
        with pytest.raises(UnroutableError):
            await transport.send(a_row(GenerationStarted))
        with pytest.raises(UnroutableError):
            await transport.send(a_row(StageAttemptFailed, "no-such-queue"))

        await transport.send(a_row())


async def test_a_message_carries_what_is_promised_of_it(amqp_url):
    row = OutboxRow(
        event=an_event(ImageValidated, version=3),
        target=EXCHANGE,
        available_at=NOW,
        causation_id=f"{UPLOAD}:2",
        traceparent=TRACE,
    )
    async with connected(amqp_url) as transport:
        await transport.send(row)

    message = await taken(amqp_url, "generator")

    assert message.body == encode(row.event)
    assert (message.message_id, message.correlation_id) == (f"{UPLOAD}:3", str(RUN))
    assert (message.type, message.content_type) == ("ImageValidated", "application/json")
    assert (message.exchange, message.routing_key) == ("darkroom.events", "upload.image_validated")
    assert message.timestamp == NOW.replace(microsecond=0)
    assert message.delivery_mode == aio_pika.DeliveryMode.PERSISTENT
    assert ours(message.headers) == {
        "schema_version": 1,
        "causation_id": f"{UPLOAD}:2",
        "traceparent": TRACE,
        "signature": Signer(SIGNING_KEY).sign(message.body),
    }


async def test_a_message_without_cause_trace_or_key_has_no_empty_headers(amqp_url):
    async with connected(amqp_url, signing_key="") as transport:
        await transport.send(a_row())

    message = await taken(amqp_url, "validator")

    assert ours(message.headers) == {"schema_version": 1}


async def test_what_was_sent_outlives_the_broker(breakable_rabbit):
    url = breakable_rabbit.create_vhost()
    async with connected(url) as transport:
        await transport.send(a_row())
    breakable_rabbit.restart()

    assert (await taken(url, "validator")).message_id == f"{UPLOAD}:1"
    breakable_rabbit.delete_vhost(url)


async def test_fresh_messages_are_first_hand_and_direct_ones_are_not(amqp_url):
    reader = Reader()
    async with connected(amqp_url, validator=reader) as transport:
        await transport.send(a_row())
        await until(lambda: len(reader.got) == 1)
        await transport.send(a_row(StageAttemptFailed, "validator"))
        await until(lambda: len(reader.got) == 2)

    assert [message.fresh for message in reader.got] == [True, False]
    assert [type(message.event) for message in reader.got] == [ProcessingRequested, StageAttemptFailed]


@pytest.mark.parametrize(("ours", "theirs"), [("a" * 32, "b" * 32), ("a" * 32, ""), ("", "b" * 32), ("", "")])
async def test_a_message_signed_with_another_key_or_none_is_not_first_hand(amqp_url, ours, theirs):
    reader = Reader()
    async with connected(amqp_url, signing_key=ours, validator=reader), connected(amqp_url, signing_key=theirs) as they:
        await they.send(a_row())
        await until(lambda: reader.got)

    assert [message.fresh for message in reader.got] == [False]


async def test_a_message_that_could_not_be_handled_comes_again_and_is_not_first_hand_then(amqp_url, monkeypatch):
    monkeypatch.setattr(queue_consumer, "NACK_FIRST", 0.01)
    reader = Reader(RuntimeError("not this time"))
    async with connected(amqp_url, validator=reader) as transport:
        await transport.send(a_row())
        await until(lambda: len(reader.got) == 1)
        reader.error = None
        await until(lambda: len(reader.got) == 2)

    assert [message.fresh for message in reader.got] == [True, False]
    assert await count(amqp_url, "validator") == 0


async def test_it_comes_later_and_later_and_is_a_dead_letter_in_the_end(amqp_url, monkeypatch):
    monkeypatch.setattr(queue_consumer, "NACK_FIRST", 0.02)
    monkeypatch.setattr(queue_consumer, "NACK_MAX", 0.16)
    bad = Reader(RuntimeError("never"))
    async with connected(amqp_url, validator=bad) as transport:
        await transport.send(a_row())
        await until(lambda: len(bad.got) == DELIVERY_LIMIT + 1, within=40)
        letter = await asyncio.wait_for(taken(amqp_url, dead("validator")), 10)

    pauses = [later - earlier for earlier, later in zip(bad.times, bad.times[1:], strict=False)]
    assert [pause >= least for pause, least in zip(pauses, (0.02, 0.04, 0.08, *[0.16] * 17), strict=True)] == [
        True
    ] * 20
    assert letter.message_id == f"{UPLOAD}:1"
    assert (letter.headers["x-reason"], letter.headers["x-queue"]) == ("not handled: RuntimeError", "validator")
    assert await count(amqp_url, "validator") == 0


@pytest.mark.parametrize("count", [100_000, 2**62, -(2**62), "many", [1], {"a": 1}], ids=repr)
async def test_a_message_is_given_back_in_time_whatever_its_publisher_says_of_deliveries(amqp_url, monkeypatch, count):
    monkeypatch.setattr(queue_consumer, "NACK_FIRST", 0.01)
    reader = Reader(RuntimeError("not this time"))
    async with connected(amqp_url, validator=reader):
        await put(amqp_url, "validator", encode(an_event(ProcessingRequested)), headers={"x-delivery-count": count})
        await until(lambda: len(reader.got) == 3)
        reader.error = None
        await until(lambda: len(reader.got) == 4)


UNREADABLE = [b"", b"not json", b"\xff\xfe\x00", b'{"type":"ProcessingRequested"}', b'{"type":"Unheard"}', b"[]"]


@pytest.mark.parametrize("body", UNREADABLE, ids=repr)
async def test_what_cannot_be_read_is_set_aside_with_the_reason_and_the_queue_goes_on(amqp_url, body):
    reader = Reader()
    async with connected(amqp_url, validator=reader) as transport:
        await put(amqp_url, "validator", body, message_id="m", correlation_id="c", type="T", headers={"mine": "kept"})
        await transport.send(a_row())

        letter = await asyncio.wait_for(taken(amqp_url, dead("validator")), 10)
        await until(lambda: reader.got)

    assert letter.body == body
    assert (letter.message_id, letter.correlation_id, letter.type) == ("m", "c", "T")
    assert letter.headers["x-reason"].startswith("cannot be read: ")
    assert (letter.headers["x-queue"], letter.headers["mine"]) == ("validator", "kept")
    assert len(reader.got) == 1
    assert await count(amqp_url, "validator") == 0


async def test_a_message_that_its_consumer_refuses_is_set_aside_at_once_with_the_reason(amqp_url, lines):
    reader = Reader(RefusedMessageError("no such event"))
    async with connected(amqp_url, validator=reader) as transport:
        await transport.send(a_row())
        letter = await asyncio.wait_for(taken(amqp_url, dead("validator")), 10)

    assert letter.headers["x-reason"] == "refused: no such event"
    assert len(reader.got) == 1
    assert [line["reason"] for line in lines if line["event"] == "message_dead_lettered"] == ["refused: no such event"]


async def test_where_even_setting_aside_fails_the_broker_moves_the_message_to_the_dead_letters(
    amqp_url, monkeypatch, lines
):
    async def broken(*_):
        raise ValueError("a fault of ours")

    monkeypatch.setattr(RabbitTransport, "dead_letter", broken)
    reader = Reader()
    async with connected(amqp_url, validator=reader) as transport:
        await put(amqp_url, "validator", b"no event")
        letter = await asyncio.wait_for(taken(amqp_url, dead("validator")), 10)
        await transport.send(a_row())
        await until(lambda: reader.got)

    assert letter.headers["x-death"][0]["reason"] == "rejected"
    assert "message_rejected" in [line["event"] for line in lines]


async def test_headers_that_would_send_a_dead_letter_back_or_cannot_be_sent_do_not_go_with_it(amqp_url):
    async with connected(amqp_url, validator=Reader()):
        await put(amqp_url, "validator", b"one", headers={"CC": ["validator"], "BCC": ["validator"], "mine": "kept"})
        first = await asyncio.wait_for(taken(amqp_url, dead("validator")), 10)
        await put(amqp_url, "validator", b"two", headers={"mine": "x" * 20_000})
        second = await asyncio.wait_for(taken(amqp_url, dead("validator")), 10)

    assert set(ours(first.headers)) == {"mine"}
    assert set(ours(second.headers)) == set()
    assert second.headers["x-reason"].startswith("cannot be read")


async def test_a_body_that_nests_without_end_does_not_stop_the_queue(amqp_url):
    reader = Reader()
    async with connected(amqp_url, validator=reader) as transport:
        await put(amqp_url, "validator", b"[" * 200_000)
        await transport.send(a_row())

        await asyncio.wait_for(taken(amqp_url, dead("validator")), 10)
        await until(lambda: reader.got)


@pytest.mark.parametrize("traceparent", ["text", 7, None, ["a", "list"]], ids=repr)
async def test_headers_of_any_kind_do_not_keep_a_message_from_being_handled(amqp_url, traceparent):
    reader = Reader()
    async with connected(amqp_url, validator=reader):
        body = encode(an_event(ProcessingRequested))
        await put(amqp_url, "validator", body, headers={"traceparent": traceparent, "schema_version": "?"})

        await until(lambda: reader.got)


async def test_a_message_is_acknowledged_after_it_was_handled_and_not_before(amqp_url):
    slow, next_one = Reader(), Reader()
    slow.go.clear()
    async with connected(amqp_url, grace=0.1, validator=slow) as transport:
        await transport.send(a_row())
        await until(lambda: slow.got)
    # The process ended in the middle of it.

    async with connected(amqp_url, validator=next_one):
        await until(lambda: next_one.got)

    assert next_one.got[0].fresh is False
    assert await count(amqp_url, "validator") == 0


async def test_a_process_told_to_stop_finishes_what_it_holds_and_takes_nothing_more(amqp_url):
    reader = Reader()
    reader.go.clear()
    async with connected(amqp_url, validator=reader) as transport:
        await transport.send(a_row())
        await until(lambda: reader.got)
        stopping = asyncio.create_task(transport.stop_consuming())
        await asyncio.sleep(0)  # for it to begin
        await transport.send(a_row(version=2))
        reader.go.set()
        await asyncio.wait_for(stopping, 5)

    assert len(reader.got) == 1
    assert await count(amqp_url, "validator") == 1


async def test_what_is_in_hand_outlives_the_connection_and_its_message_is_not_handled_a_second_time(breakable_rabbit):
    url = breakable_rabbit.create_vhost()
    reader = Reader()
    reader.go.clear()
    async with connected(url, validator=reader) as transport:
        await transport.send(a_row())
        await until(lambda: reader.got)
        breakable_rabbit.restart()
        await until(lambda: not transport.up, within=30)
        await until(lambda: transport.up, within=30)
        await _sent(transport, a_row(version=2))
        await until(lambda: len(reader.got) == 2, within=30)
        reader.go.set()
        await until(lambda: not transport.queue_consumers[0].in_flight)

    assert [message.event.version for message in reader.got] == [1, 2]
    assert await count(url, "validator") == 0
    breakable_rabbit.delete_vhost(url)


async def test_while_the_broker_is_away_nothing_is_said_to_be_safe_and_afterwards_all_goes_on(breakable_rabbit):
    url = breakable_rabbit.create_vhost()
    reader, states = Reader(), []
    transport = RabbitTransport(url, grace=5.0, on_state=states.append)
    transport.consume("validator", reader, concurrency=4)
    await transport.start()
    try:
        breakable_rabbit.stop()
        await until(lambda: not transport.up)
        with pytest.raises(TransportDownError):
            await transport.send(a_row())

        breakable_rabbit.start()
        await until(lambda: transport.up, within=30)
        await _sent(transport, a_row())
        await until(lambda: reader.got, within=30)
        assert states == [True, False, True]
    finally:
        await transport.stop_consuming()
        await transport.close()
        breakable_rabbit.delete_vhost(url)


async def test_a_broker_that_freezes_does_not_confirm_and_so_nothing_is_said_to_be_safe(breakable_rabbit, monkeypatch):
    monkeypatch.setattr(rabbit_transport, "CONFIRM_TIMEOUT", 0.5)
    url = breakable_rabbit.create_vhost()
    async with connected(url) as transport:
        breakable_rabbit.pause()
        try:
            with pytest.raises(TransportDownError):
                await transport.send(a_row())
        finally:
            breakable_rabbit.resume()
        await _sent(transport, a_row(version=2))
    breakable_rabbit.delete_vhost(url)


async def test_a_process_may_start_before_its_broker(breakable_rabbit):
    url = breakable_rabbit.create_vhost()
    breakable_rabbit.stop()
    transport = RabbitTransport(url, grace=5.0)
    starting = asyncio.create_task(transport.start())
    with pytest.raises(TransportDownError):
        await transport.send(a_row())

    breakable_rabbit.start()
    await asyncio.wait_for(starting, 30)
    await transport.send(a_row())
    await transport.close()
    breakable_rabbit.delete_vhost(url)


async def test_the_exchange_is_durable_and_knows_topics(amqp_url):
    async with connected(amqp_url), looking(amqp_url) as channel:
        await channel.declare_exchange(EVENTS.name, aio_pika.ExchangeType.TOPIC, durable=True)
        own = await channel.declare_queue(exclusive=True)
        await own.bind(EVENTS.name, "upload.*")


async def test_an_instant_between_two_seconds_survives_in_the_body(amqp_url):
    reader = Reader()
    moment = NOW + dt.timedelta(microseconds=1)
    async with connected(amqp_url, validator=reader) as transport:
        await transport.send(a_row(occurred_at=moment))
        await until(lambda: reader.got)

    assert reader.got[0].event.occurred_at == moment


async def _sent(transport, row):
    """Send as the dispatcher does: again, until it is safe."""

    async def safe():
        try:
            await transport.send(row)
        except TransportDownError:
            return False
        return True

    await until(safe, within=30, every=0.2)
