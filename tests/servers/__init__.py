"""Real servers for the tests, and for whoever needs them outside pytest (benchmarks, chaos runs).

In this order: a server that DATABASE_URL or AMQP_URL names; a private one that this process starts, on ports and in a
folder of its own, gone with the process; a container. Never a server that merely happens to run on this machine.

    with closing(open_postgres()) as postgres, closing(open_rabbit()) as rabbit:
        database_url, amqp_url = postgres.create_database(), rabbit.create_vhost()
"""

from tests.servers.postgres import PostgresServer, database_name, open_postgres, private_postgres
from tests.servers.power import NoServerError, free_port
from tests.servers.rabbit import RabbitServer, open_rabbit, private_rabbit, vhost_name

__all__ = [
    "NoServerError",
    "PostgresServer",
    "RabbitServer",
    "database_name",
    "free_port",
    "open_postgres",
    "open_rabbit",
    "private_postgres",
    "private_rabbit",
    "vhost_name",
]
