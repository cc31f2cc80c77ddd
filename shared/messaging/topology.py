"""Exchange, queues and bindings as typed values, derived from the saga table. Works on RabbitMQ 3.10 and 4.x."""

from aio_pika.abc import AbstractChannel
from faststream.rabbit import ExchangeType, QueueType, RabbitBroker, RabbitExchange, RabbitQueue
from faststream.rabbit.schemas.queue import QuorumQueueArgs

from contracts.events import EVENT_TYPES, routing_key
from shared.upload.saga import ANALYTICS_QUEUE, ROUTES, STAGE_OF_QUEUE

EVENTS = RabbitExchange("darkroom.events", type=ExchangeType.TOPIC, durable=True)
DEFAULT = RabbitExchange()

QUEUES: tuple[str, ...] = (*STAGE_OF_QUEUE, ANALYTICS_QUEUE)

DELIVERY_LIMIT = 20
"""Redeliveries before the broker sets a message aside. RabbitMQ 4 has the same by default, 3.10 has none."""
DEAD_DELIVERY_LIMIT = 2**31 - 1
"""The same for dead letters, where a look counts as a delivery: RabbitMQ 4 would drop one at the 21st by default.

Its word for no limit, -1, is refused by 3.10."""


def dead(queue: str) -> str:
    """Name a queue's dead-letter queue."""
    return f"{queue}.dead"


def work_queue(name: str) -> RabbitQueue:
    """Return a stage's queue: a message it cannot get rid of moves to its dead letters, and is not lost on the way."""
    arguments: QuorumQueueArgs = {
        "x-delivery-limit": DELIVERY_LIMIT,
        "x-dead-letter-exchange": "",
        "x-dead-letter-routing-key": dead(name),
        "x-dead-letter-strategy": "at-least-once",
        "x-overflow": "reject-publish",
    }
    return RabbitQueue(name, queue_type=QueueType.QUORUM, durable=True, arguments=arguments)


def dead_queue(name: str) -> RabbitQueue:
    """Return the queue where a person finds what `name` could not handle."""
    arguments: QuorumQueueArgs = {"x-delivery-limit": DEAD_DELIVERY_LIMIT}
    return RabbitQueue(dead(name), queue_type=QueueType.QUORUM, durable=True, arguments=arguments)


def bindings() -> list[tuple[str, str]]:
    """Return (queue, routing key) for every route of the saga. Raises ValueError where an event has no row in it."""
    missing = [kind.__name__ for kind in EVENT_TYPES if kind not in ROUTES]
    unknown = {queue for queues in ROUTES.values() for queue in queues} - set(QUEUES)
    if missing or unknown:
        raise ValueError(f"the saga table has no route for {missing}, and routes to unknown queues {sorted(unknown)}")
    return [(queue, routing_key(kind)) for kind, queues in ROUTES.items() for queue in queues]


async def declare(broker: RabbitBroker) -> AbstractChannel:
    """Declare all of it, and return the channel that did; any process may be the first.

    Raises where something of the name exists and differs.
    """
    exchange = await broker.declare_exchange(EVENTS)
    for name in QUEUES:
        await broker.declare_queue(dead_queue(name))
        queue = await broker.declare_queue(work_queue(name))
        for bound, key in bindings():
            if bound == name:
                await queue.bind(exchange, routing_key=key)
    return exchange.channel
