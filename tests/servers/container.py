"""PostgreSQL and RabbitMQ in containers, where Docker answers."""

import os
import secrets
import time
from collections.abc import Callable

import docker
import httpx
from testcontainers.core.config import testcontainers_config
from testcontainers.core.container import DockerContainer

from tests.servers.answers import speaks_amqp, speaks_postgres
from tests.servers.power import NoServerError, free_port

_POSTGRES_IMAGE = os.environ.get("TEST_POSTGRES_IMAGE", "postgres:18")
_RABBITMQ_IMAGE = os.environ.get("TEST_RABBITMQ_IMAGE", "rabbitmq:4-management")
_PATIENCE = 180.0


class Container:
    """A container's power switch. Its ports are bound by number: Docker would deal out others at the next start."""

    def __init__(self, container: DockerContainer, answers: Callable[[], bool]) -> None:
        self._container = container
        self._answers = answers
        # Its reaper wants Docker's socket inside a container, which not every installation allows. We close ourselves.
        testcontainers_config.ryuk_disabled = True
        container.start()
        self._wait_until_it_answers()

    def start(self) -> None:
        self._container.get_wrapped_container().start()
        self._wait_until_it_answers()

    def stop(self) -> None:
        self._container.get_wrapped_container().stop(timeout=30)

    def crash(self) -> None:
        self._container.get_wrapped_container().kill()

    def pause(self) -> None:
        self._container.get_wrapped_container().pause()

    def resume(self) -> None:
        self._container.get_wrapped_container().unpause()

    def ensure_up(self) -> None:
        container = self._container.get_wrapped_container()
        container.reload()
        if container.status == "paused":
            container.unpause()
        elif container.status != "running":
            self.start()

    def close(self) -> None:
        self._container.stop()

    def _wait_until_it_answers(self) -> None:
        until = time.monotonic() + _PATIENCE
        while not self._answers():
            if time.monotonic() > until:
                msg = f"{self._container.image} did not start:\n{self._container.get_logs()[1].decode()[-2000:]}"
                self.close()
                raise NoServerError(msg)
            time.sleep(0.1)


def docker_answers() -> bool:
    try:
        client = docker.from_env(timeout=5)
        return bool(client.ping())
    except docker.errors.DockerException:
        return False


def postgres() -> tuple[str, Container]:
    """Start PostgreSQL and return its URL and switch."""
    password, port = secrets.token_urlsafe(12), free_port()
    container = DockerContainer(_POSTGRES_IMAGE).with_env("POSTGRES_PASSWORD", password).with_bind_ports(5432, port)
    url = f"postgresql://postgres:{password}@{container.get_docker_client().host()}:{port}/postgres"
    return url, Container(container, lambda: speaks_postgres(url))


def rabbit() -> tuple[str, str, Container]:
    """Start RabbitMQ and return its AMQP URL, its management URL and its switch."""
    port, management_port = free_port(), free_port()
    container = DockerContainer(_RABBITMQ_IMAGE, hostname="darkroom-test").with_bind_ports(5672, port)
    container.with_bind_ports(15672, management_port)
    # guest may otherwise come from the loopback interface only, and the container's is not ours.
    container.with_env("RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS", "-rabbit loopback_users []")
    host = container.get_docker_client().host()
    management_url = f"http://{host}:{management_port}"
    switch = Container(container, lambda: _management_answers(management_url) and speaks_amqp(host, port))
    return f"amqp://guest:guest@{host}:{port}/", management_url, switch


def _management_answers(url: str) -> bool:
    try:
        answer = httpx.get(f"{url}/api/whoami", auth=("guest", "guest"), timeout=5)
    except httpx.HTTPError:
        return False
    return answer.is_success
