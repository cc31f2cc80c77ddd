"""The whole product as processes, once for all tests that leave it running."""

import pytest

from tests.photos import a_jpeg
from tests.stack import SERVICES, Stack

ENV = {"GENERATOR_TIMEOUT": "2", "GRACE_PERIOD": "10"}


@pytest.fixture(scope="session")
def running(tmp_path_factory, postgres, rabbit, template_database):
    """All seven services over a database and a virtual host of their own."""
    folder = tmp_path_factory.mktemp("e2e")
    (folder / "tmp").mkdir()
    database_url, amqp_url = postgres.create_database(template=template_database), rabbit.create_vhost()
    with Stack(folder, database_url, amqp_url, {**ENV, "TMPDIR": str(folder / "tmp")}) as stack:
        stack.start_all()
        yield stack
    rabbit.delete_vhost(amqp_url)
    postgres.drop_database(database_url)


@pytest.fixture
def stack(running):
    """The running product; what a test stopped is started again for the next."""
    yield running
    running.wake_all()
    died = [name for name, process in running.processes.items() if process.poll() is not None]
    running.start(*(name for name in SERVICES if name not in running.processes or name in died))
    assert died == [], running.logs()


@pytest.fixture
def client(stack):
    stack.wait_ready(within=60)
    return stack.client()


@pytest.fixture(scope="session")
def photo():
    return a_jpeg(160, 120)
