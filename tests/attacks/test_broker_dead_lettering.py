"""Messages that RabbitMQ itself cannot dead-letter: those of ours that fail to the limit are dead letters all the same.

Before, on RabbitMQ 3.10.8: one message that expired with `x-death: [1, 2]` ended the broker's dead-lettering for every
queue of the node until a restart; 33 whose `x-death` tells of a cycle ended it for their queue. A message that nobody
could handle was then, after its 21st delivery, neither in its queue nor in its dead letters.
"""

import contextlib

import pytest
import structlog.testing
from pamqp.commands import Basic

from contracts.events import ProcessingRequested, encode
from shared.messaging import queue_consumer
from shared.messaging.rabbit_transport import RabbitTransport
from shared.messaging.topology import DELIVERY_LIMIT, dead
from tests.attacks.hostile import JUNK, a_channel, count, publish
from tests.builders import an_event
from tests.servers import private_rabbit
from tests.waiting import until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

CYCLE = [{"queue": dead("validator"), "reason": "expired", "count": 1}]


@pytest.fixture
def own_amqp_url():
    """A virtual host on a node of the test's own: what it breaks there only a restart would mend."""
    with contextlib.closing(private_rabbit()) as server:
        yield server.create_vhost()


class Failing:
    """A consumer that can handle nothing."""

    def __init__(self):
        self.deliveries = 0

    async def handle(self, message):
        self.deliveries += 1
        raise RuntimeError


@contextlib.asynccontextmanager
async def connected(url, consumer=None):
    transport = RabbitTransport(url, grace=1)
    if consumer is not None:
        transport.consume("validator", consumer, concurrency=4)
    await transport.start()
    try:
        yield
    finally:
        await transport.stop_consuming()
        await transport.close()


async def let_expire(channel, queue, deaths, number):
    """Have the broker dead-letter messages that tell of such deaths."""
    for _ in range(number):
        properties = Basic.Properties(headers={"x-death": deaths}, expiration="1", delivery_mode=2)
        await publish(channel, queue, JUNK, properties)

    async def gone():
        return await count(channel, queue) == 0

    await until(gone, within=30, every=0.1)


@pytest.mark.parametrize(
    ("queue", "deaths", "number"),
    [("storer", [1, 2], 1), ("validator", CYCLE, 33)],
    ids=["deaths that are numbers", "deaths that tell of a cycle"],
)
async def test_a_message_that_nobody_can_handle_is_a_dead_letter_even_where_the_broker_moves_none(
    own_amqp_url, monkeypatch, queue, deaths, number
):
    monkeypatch.setattr(queue_consumer, "NACK_MAX", 0.1)
    failing = Failing()
    async with connected(own_amqp_url), a_channel(own_amqp_url) as channel:
        await let_expire(channel, queue, deaths, number)
        before = await count(channel, dead("validator"))
        with structlog.testing.capture_logs() as lines:
            async with connected(own_amqp_url, failing):
                await publish(channel, "validator", encode(an_event(ProcessingRequested)))

                async def there():
                    return await count(channel, dead("validator")) == before + 1

                await until(there, within=30, every=0.1)
        letters = await channel.declare_queue(dead("validator"), passive=True)
        reasons = [(await letters.get()).headers.get("x-reason") for _ in range(before + 1)]
    assert failing.deliveries == DELIVERY_LIMIT + 1
    assert reasons[-1] == "not handled: RuntimeError"
    assert [line["reason"] for line in lines if line["event"] == "message_dead_lettered"] == [reasons[-1]]
