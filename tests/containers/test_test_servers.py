"""The tests' own servers where they come from containers: started, crashed, frozen, and gone afterwards."""

from collections.abc import Iterator
from contextlib import closing

import aio_pika
import docker
import psycopg
import pytest

from tests.servers import container
from tests.servers.container import Container

pytestmark = [pytest.mark.containers, pytest.mark.timeout(600)]


@pytest.fixture
def postgres() -> Iterator[tuple[str, Container]]:
    url, power = container.postgres()
    with closing(power):
        yield url, power


@pytest.fixture
def rabbit() -> Iterator[tuple[str, Container]]:
    url, _, power = container.rabbit()
    with closing(power):
        yield url, power


def test_committed_rows_outlive_a_crash_of_postgres_in_a_container(postgres: tuple[str, Container]) -> None:
    url, power = postgres
    with psycopg.connect(url) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 1 AS id")

    power.crash()
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(url, connect_timeout=2)
    power.start()

    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT id FROM kept").fetchone() == (1,)


def test_a_frozen_postgres_in_a_container_goes_on_where_it_was(postgres: tuple[str, Container]) -> None:
    url, power = postgres
    with psycopg.connect(url, autocommit=True) as connection:
        power.pause()
        with pytest.raises(psycopg.OperationalError):
            psycopg.connect(url, connect_timeout=2)
        power.ensure_up()

        assert connection.execute("SELECT 1").fetchone() == (1,)


async def test_a_confirmed_message_outlives_a_stop_of_rabbitmq_in_a_container(rabbit: tuple[str, Container]) -> None:
    url, power = rabbit
    async with await aio_pika.connect(url) as connection:
        channel = await connection.channel(publisher_confirms=True)
        queue = await channel.declare_queue("photos", durable=True, arguments={"x-queue-type": "quorum"})
        message = aio_pika.Message(b"kept", delivery_mode=aio_pika.DeliveryMode.PERSISTENT)
        await channel.default_exchange.publish(message, routing_key=queue.name)

    power.stop()
    with pytest.raises(OSError, match=r"(?i)connect"):
        await aio_pika.connect(url, timeout=2)
    power.start()

    async with await aio_pika.connect(url) as connection:
        queue = await (await connection.channel()).declare_queue("photos", passive=True)
        found = await queue.get(timeout=10)
        assert found is not None
        assert found.body == b"kept"


def test_a_closed_server_leaves_no_container_behind() -> None:
    _, power = container.postgres()
    name = power._container.get_wrapped_container().name

    power.close()

    assert name not in [each.name for each in docker.from_env().containers.list(all=True)]
