"""A real gateway process, without a broker unless a test wants one: nothing it does waits for it."""

import contextlib
import socket
from pathlib import Path

from tests.photos import a_jpeg
from tests.servers import free_port
from tests.stack import Client, Stack

NO_BROKER = f"amqp://guest:guest@127.0.0.1:{free_port()}/"
PHOTO = a_jpeg(320, 240)


class Gateway:
    """One gateway process, and a client of it."""

    def __init__(self, running, name="gateway"):
        self.stack = running
        self.name = name
        self.url = running.url
        self.port = running.port
        self.client = Client(running.url)
        self.http = self.client.http

    def upload(self):
        return self.client.upload(PHOTO)

    def log(self):
        return (self.stack.folder / f"{self.name}.log").read_text(errors="replace")

    @contextlib.contextmanager
    def raw(self):
        """A bare TCP connection to the gateway."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=30) as connection:
            yield connection


@contextlib.contextmanager
def a_gateway(folder: Path, database_url, amqp_url=NO_BROKER, env=None):
    folder.mkdir(exist_ok=True)
    with Stack(folder, database_url, amqp_url, env) as running:
        running.start("gateway")
        running.wait_ready()
        gateway = Gateway(running)
        with gateway.http:
            yield gateway


def problem(answer, status, code):
    """Check that an answer is the problem it should be, and return it."""
    assert answer.status_code == status, answer.text
    assert answer.headers["Content-Type"] == "application/problem+json"
    body = answer.json()
    assert body["code"] == code
    assert body["status"] == status
    assert body["success"] is False
    assert body["requestId"] == answer.headers["X-Request-Id"]
    return body
