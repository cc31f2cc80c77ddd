"""One gateway for the tests that only ask it; each test has uploads of its own."""

import pytest

from shared.database.migrate import migrate
from tests.integration.gateway.gateways import a_gateway


@pytest.fixture(scope="module")
def module_database_url(postgres):
    """A database that a module's tests share."""
    url = postgres.create_database()
    migrate(url)
    yield url
    postgres.drop_database(url)


@pytest.fixture(scope="module")
def gateway(module_database_url, tmp_path_factory):
    """A gateway process over it, without a broker."""
    with a_gateway(tmp_path_factory.mktemp("gateway"), module_database_url) as running:
        yield running
