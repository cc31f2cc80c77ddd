"""The floor of a stage: a FastStream consumer of one quorum queue that does nothing. A script; argument: AMQP URL."""

import asyncio
import sys

import uvloop
from faststream.rabbit import QueueType, RabbitBroker, RabbitQueue

QUEUE = "bare"


async def consume(url: str) -> None:
    broker = RabbitBroker(url, logger=None)

    @broker.subscriber(RabbitQueue(QUEUE, queue_type=QueueType.QUORUM, durable=True))
    async def ignore(message: bytes) -> None: ...

    await broker.start()
    await asyncio.Event().wait()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(consume(sys.argv[1]))
