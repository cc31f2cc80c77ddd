"""Servers for the tests: one of each kind a session, a database and a virtual host of its own for every test."""

from collections.abc import Callable, Iterator
from contextlib import closing
from typing import TypeVar

import pytest

from tests.servers import (
    NoServerError,
    PostgresServer,
    RabbitServer,
    database_name,
    open_postgres,
    open_rabbit,
    private_postgres,
    private_rabbit,
)

Server = TypeVar("Server", PostgresServer, RabbitServer)


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """The session's PostgreSQL. A test that stops it takes `breakable_postgres`."""
    with closing(_or_exit(open_postgres)) as server:
        yield server


@pytest.fixture(scope="session")
def rabbit() -> Iterator[RabbitServer]:
    """The session's RabbitMQ. A test that stops it takes `breakable_rabbit`."""
    with closing(_or_exit(open_rabbit)) as server:
        yield server


@pytest.fixture(scope="session")
def template_database(postgres: PostgresServer) -> Iterator[str]:
    """Name a database with the schema in it, which the tests' databases are copied from."""
    from shared.database.migrate import migrate  # noqa: PLC0415 - its fault is the fault of the tests that need it

    url = postgres.create_database()
    migrate(url)
    yield database_name(url)
    postgres.drop_database(url)


@pytest.fixture
def database_url(postgres: PostgresServer, template_database: str) -> Iterator[str]:
    """A database of the test's own, with the schema up to date and nothing in it."""
    url = postgres.create_database(template=template_database)
    yield url
    postgres.drop_database(url)


@pytest.fixture
def empty_database_url(postgres: PostgresServer) -> Iterator[str]:
    """A database of the test's own without any table."""
    url = postgres.create_database()
    yield url
    postgres.drop_database(url)


@pytest.fixture
def amqp_url(rabbit: RabbitServer) -> Iterator[str]:
    """A virtual host of the test's own."""
    url = rabbit.create_vhost()
    yield url
    rabbit.delete_vhost(url)


@pytest.fixture
def breakable_postgres(request: pytest.FixtureRequest) -> Iterator[PostgresServer]:
    """A PostgreSQL that the test may stop, crash and freeze, without tables; it runs again afterwards."""
    yield from _breakable(request.getfixturevalue("postgres"), private_postgres)


@pytest.fixture
def breakable_rabbit(request: pytest.FixtureRequest) -> Iterator[RabbitServer]:
    """A RabbitMQ that the test may stop, crash and freeze; it runs again afterwards."""
    yield from _breakable(request.getfixturevalue("rabbit"), private_rabbit)


def _breakable(shared: Server, private: Callable[[], Server]) -> Iterator[Server]:
    if not shared.is_ours:
        with closing(_or_exit(private)) as server:
            yield server
        return
    yield shared
    shared.ensure_up()


def _or_exit(open_server: Callable[[], Server]) -> Server:
    """Open a server, or end the session: tests skipped for want of a server would look like tests that pass."""
    try:
        return open_server()
    except NoServerError as error:
        pytest.exit(f"\n{error}", returncode=3)
