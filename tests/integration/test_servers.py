"""The servers that the tests run against: real ones, private ones, and gone when nobody holds them."""

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import aio_pika
import psutil
import psycopg
import pytest

from tests.servers import PostgresServer, RabbitServer, free_port, private_rabbit

QUORUM = {"x-queue-type": "quorum"}


def test_every_test_gets_a_database_of_its_own(postgres: PostgresServer, empty_database_url: str) -> None:
    other = postgres.create_database()
    with psycopg.connect(empty_database_url) as connection:
        connection.execute("CREATE TABLE mine (id int)")

    with psycopg.connect(other) as connection:
        found = connection.execute("SELECT to_regclass('mine')").fetchone()
    postgres.drop_database(other)

    assert found == (None,)


def test_a_test_starts_with_the_schema_and_no_upload(database_url: str) -> None:
    with psycopg.connect(database_url) as connection:
        uploads = connection.execute("SELECT count(*) FROM uploads").fetchone()

    assert uploads == (0,)


def test_committed_rows_outlive_a_crash_of_postgres(breakable_postgres: PostgresServer) -> None:
    url = breakable_postgres.create_database()
    with psycopg.connect(url) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 1 AS id")

    breakable_postgres.crash()
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(url, connect_timeout=2)
    breakable_postgres.start()

    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT id FROM kept").fetchone() == (1,)
    breakable_postgres.drop_database(url)


def test_a_frozen_postgres_goes_on_where_it_was(breakable_postgres: PostgresServer) -> None:
    with psycopg.connect(breakable_postgres.url, autocommit=True) as connection:
        breakable_postgres.pause()
        with pytest.raises(psycopg.OperationalError):
            psycopg.connect(breakable_postgres.url, connect_timeout=2)
        breakable_postgres.resume()

        assert connection.execute("SELECT 1").fetchone() == (1,)


async def test_a_quorum_queue_confirms_and_delivers(amqp_url: str) -> None:
    async with await aio_pika.connect(amqp_url) as connection:
        channel = await connection.channel(publisher_confirms=True, on_return_raises=True)
        queue = await channel.declare_queue("photos", durable=True, arguments=QUORUM)

        await channel.default_exchange.publish(aio_pika.Message(b"one"), routing_key=queue.name, mandatory=True)
        message = await queue.get(timeout=10)
        assert message is not None
        await message.ack()

        assert message.body == b"one"


async def test_every_test_gets_a_virtual_host_of_its_own(rabbit: RabbitServer, amqp_url: str) -> None:
    other = rabbit.create_vhost()
    async with await aio_pika.connect(amqp_url) as connection:
        await (await connection.channel()).declare_queue("mine", durable=True, arguments=QUORUM)

    async with await aio_pika.connect(other) as connection:
        channel = await connection.channel()
        with pytest.raises(aio_pika.exceptions.ChannelNotFoundEntity):
            await channel.declare_queue("mine", passive=True)
    rabbit.delete_vhost(other)


@pytest.mark.timeout(300)  # two starts of RabbitMQ, and a stop that takes it seven seconds
@pytest.mark.parametrize("end", ["stop", "crash"])
async def test_a_confirmed_message_outlives_an_outage_of_rabbitmq(breakable_rabbit: RabbitServer, end: str) -> None:
    url = breakable_rabbit.create_vhost()
    async with await aio_pika.connect(url) as connection:
        channel = await connection.channel(publisher_confirms=True)
        queue = await channel.declare_queue("photos", durable=True, arguments=QUORUM)
        message = aio_pika.Message(b"kept", delivery_mode=aio_pika.DeliveryMode.PERSISTENT)
        await channel.default_exchange.publish(message, routing_key=queue.name)
    # RabbitMQ 3.10 writes a queue's membership down up to half a second late. A queue that a crash met before that has
    # no leader ever after; nothing that can be asked says when it is safe.
    await asyncio.sleep(1.5)

    getattr(breakable_rabbit, end)()
    with pytest.raises(OSError, match=r"(?i)connect"):
        await aio_pika.connect(url, timeout=2)
    breakable_rabbit.start()

    async with await aio_pika.connect(url) as connection:
        queue = await (await connection.channel()).declare_queue("photos", passive=True)
        found = await queue.get(timeout=10)
        assert found is not None
        assert found.body == b"kept"
    breakable_rabbit.delete_vhost(url)


def epmds() -> dict[int, list[int]]:
    """Return Erlang's port mappers of this machine, by process id, and the ports that each listens on."""
    found = [process for process in psutil.process_iter(["name"]) if process.info["name"] == "epmd"]
    return {process.pid: [at.laddr.port for at in process.net_connections("tcp4")] for process in found}


@pytest.mark.timeout(300)
@pytest.mark.parametrize("on_the_path", [True, False])
def test_rabbitmq_has_a_port_mapper_of_its_own_that_ends_with_it(tmp_path, monkeypatch, on_the_path) -> None:
    if shutil.which("epmd") is None:
        pytest.skip("RabbitMQ does not come from a package here")
    if not on_the_path:
        for folder in reversed(os.environ["PATH"].split(os.pathsep)):
            for program in Path(folder).glob("*"):
                (tmp_path / program.name).unlink(missing_ok=True)
                (tmp_path / program.name).symlink_to(program)
        (tmp_path / "epmd").unlink()
        monkeypatch.setenv("PATH", str(tmp_path))
    before = epmds()
    server = private_rabbit()
    try:
        [pid] = [pid for pid, ports in epmds().items() if server.power.epmd_port in ports]
        assert pid not in before
        assert pid in [process.pid for process in server.power._family()]
        psutil.Process(pid).kill()  # whoever ended it, the node goes on, and comes back
        server.restart()
        assert server.create_vhost()
        mine = [process.pid for process in server.power._family() if process.name() == "epmd"]
        assert len(mine) == 1
    finally:
        server.close()
    assert not psutil.pid_exists(mine[0])
    assert {pid for pid in before if psutil.pid_exists(pid)} <= set(epmds())


KILLED_SESSION = """
import os, signal
from tests.servers import private_postgres
server = private_postgres()
print(server.power.folder, server.power.pid, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_killed_session_leaves_no_server_behind() -> None:
    root = Path(__file__).parents[2]
    session = subprocess.run([sys.executable, "-c", KILLED_SESSION], cwd=root, capture_output=True, text=True)
    folder, pid = session.stdout.split()

    until = time.monotonic() + 15
    while (Path(folder).exists() or psutil.pid_exists(int(pid))) and time.monotonic() < until:
        time.sleep(0.05)

    assert session.returncode == -signal.SIGKILL
    assert not Path(folder).exists()
    assert not psutil.pid_exists(int(pid))


def test_a_port_is_never_one_that_an_outgoing_connection_may_be_dealt() -> None:
    lowest_dealt = 32_768

    assert all(1024 < free_port() < lowest_dealt for _ in range(20))
