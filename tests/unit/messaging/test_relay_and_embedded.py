"""Relay and embedded transport: a row goes only when it is safe, and one being handled is not begun again."""

import asyncio

import pytest

from contracts.events import ProcessingFailed, ProcessingRequested, StageAttemptFailed
from shared.eventstore.outbox import EXCHANGE, OutboxRow
from shared.messaging.embedded_transport import EmbeddedTransport
from shared.messaging.message import TransportDownError, UnroutableError
from shared.messaging.relay import Relay
from tests.builders import NOW, an_event
from tests.waiting import until


def a_row(kind=ProcessingRequested, target=EXCHANGE, *, now=True):
    return OutboxRow(event=an_event(kind), target=target, available_at=NOW, now=now)


class Road:
    """A transport that ends as it was told, once it is let."""

    def __init__(self, error=None):
        self.error = error
        self.open = asyncio.Event()

    async def send(self, row):
        await self.open.wait()
        if self.error:
            raise self.error


class Reader:
    """A consumer that notes what it got, and takes its time where it is told to."""

    def __init__(self, error=None):
        self.got = []
        self.error = error
        self.go = asyncio.Event()
        self.go.set()

    async def handle(self, message):
        self.got.append(message)
        await self.go.wait()
        if self.error:
            raise self.error


async def test_a_row_is_settled_after_it_is_safe_and_not_before():
    road, settled = Road(), []
    relay = Relay(road, settled.extend)
    relay.publish([a_row()])
    await asyncio.sleep(0)
    assert settled == []

    road.open.set()
    await relay.drain(5)

    assert settled == [a_row().key]


@pytest.mark.parametrize("error", [TransportDownError(), UnroutableError(), KeyError("a bug")], ids=repr)
async def test_a_row_that_could_not_be_sent_stays(error):
    road, settled = Road(error), []
    road.open.set()
    relay = Relay(road, settled.extend)

    relay.publish([a_row()])
    await relay.drain(5)

    assert settled == []


async def test_draining_does_not_wait_for_ever():
    relay = Relay(Road(), lambda _: None)
    relay.publish([a_row()])

    await asyncio.wait_for(relay.drain(0.01), 5)


async def test_an_event_goes_to_every_queue_that_its_route_names_and_to_no_other():
    transport = EmbeddedTransport(1)
    readers = {queue: Reader() for queue in ("validator", "generator", "analytics")}
    for queue, reader in readers.items():
        transport.consume(queue, reader, concurrency=1)

    await transport.send(a_row())

    assert {queue: len(reader.got) for queue, reader in readers.items()} == {
        "validator": 1,
        "generator": 0,
        "analytics": 1,
    }


async def test_what_is_addressed_to_one_queue_goes_there_alone_and_is_not_first_hand():
    transport = EmbeddedTransport(1)
    readers = {queue: Reader() for queue in ("validator", "analytics")}
    for queue, reader in readers.items():
        transport.consume(queue, reader, concurrency=1)

    await transport.send(a_row(StageAttemptFailed, "validator"))

    assert [message.fresh for message in readers["validator"].got] == [False]
    assert readers["analytics"].got == []


@pytest.mark.parametrize("now", [True, False])
async def test_only_what_comes_straight_from_its_commit_is_first_hand(now):
    transport, reader = EmbeddedTransport(1), Reader()
    transport.consume("validator", reader, concurrency=1)

    await transport.send(a_row(now=now))

    assert [message.fresh for message in reader.got] == [now]


async def test_a_row_that_is_being_handled_is_not_begun_again():
    transport, reader = EmbeddedTransport(1), Reader()
    transport.consume("validator", reader, concurrency=9)
    reader.go.clear()
    sent = [asyncio.create_task(transport.send(a_row())) for _ in range(3)]
    await until(lambda: reader.got)

    reader.go.set()
    await asyncio.gather(*sent)

    assert len(reader.got) == 1


async def test_a_row_whose_consumer_failed_is_not_safe():
    transport = EmbeddedTransport(1)
    transport.consume("validator", Reader(KeyError()), concurrency=1)

    with pytest.raises(TransportDownError):
        await transport.send(a_row())


async def test_no_more_are_handled_at_once_than_was_said():
    transport, reader = EmbeddedTransport(1), Reader()
    transport.consume("analytics", reader, concurrency=2)
    reader.go.clear()
    rows = [
        OutboxRow(event=an_event(ProcessingFailed, version=n), target=EXCHANGE, available_at=NOW) for n in (1, 2, 3)
    ]
    sent = [asyncio.create_task(transport.send(row)) for row in rows]
    await until(lambda: len(reader.got) == 2)

    at_once = len(reader.got)
    reader.go.set()
    await asyncio.gather(*sent)

    assert (at_once, len(reader.got)) == (2, 3)


async def test_stopping_abandons_what_does_not_end_within_the_grace_period():
    transport, reader = EmbeddedTransport(0.01), Reader()
    transport.consume("validator", reader, concurrency=1)
    reader.go.clear()
    sent = asyncio.create_task(transport.send(a_row()))
    await until(lambda: reader.got)

    await asyncio.wait_for(transport.stop_consuming(), 5)

    with pytest.raises(asyncio.CancelledError):
        await sent
