"""The stack of docker-compose.yml under a name and on ports of its own: up, kill, start, and look at what it did."""

import os
import secrets
import subprocess
from pathlib import Path
from uuid import UUID

import docker
import psycopg
from docker.models.containers import Container

from contracts.events import Event
from tests.chaos.invariants import streams
from tests.servers import free_port
from tests.stack import eventually

ROOT = Path(__file__).parents[2]


class ComposeError(Exception):
    """Compose refused, or a container is not well; the message has what it said."""


class ComposeStack:
    """One project. What a developer has running under the usual name and ports is left alone."""

    def __init__(self) -> None:
        self.project = f"darkroom-test-{secrets.token_hex(4)}"
        ports = {
            name: str(free_port())
            for name in (
                "GATEWAY_PORT",
                "POSTGRES_PORT",
                "AMQP_PORT",
                "RABBITMQ_MANAGEMENT_PORT",
                "S3_PORT",
                "PROMETHEUS_PORT",
            )
        }
        self.url = f"http://127.0.0.1:{ports['GATEWAY_PORT']}"
        self.database_url = f"postgresql://darkroom:darkroom@127.0.0.1:{ports['POSTGRES_PORT']}/darkroom"
        self.rabbitmq_url = f"http://127.0.0.1:{ports['RABBITMQ_MANAGEMENT_PORT']}"
        self.prometheus_url = f"http://127.0.0.1:{ports['PROMETHEUS_PORT']}"
        # A call that died with its generator is waited for as long as it may take.
        settings = {"GENERATOR": "local", "GENERATOR_TIMEOUT": "10", "GEMINI_API_KEY": "", "POSTHOG_API_KEY": ""}
        names = {"COMPOSE_PROJECT_NAME": self.project, "DARKROOM_IMAGE": "darkroom:test"}
        # No profile of the developer's own: what belongs to one is added by its name.
        names["COMPOSE_PROFILES"] = ""
        self._env = os.environ | ports | settings | names

    def up(self, *arguments: str) -> None:
        """Do what `just up` does. Raises ComposeError."""
        self._run("deploy/compose", "up", "--build", "--detach", *arguments)
        self.wait_until_well()

    def wait_until_well(self) -> str:
        """Return once every container is healthy, with what a developer is then told. Raises ComposeError with logs."""
        return self._run("deploy/wait-until-well")

    def start_what_stopped(self) -> None:
        """Start every container that is to run and does not; those that run once have done so."""
        for container in self.containers():
            if container.labels["com.docker.compose.service"] not in ("migrate", "bucket"):
                container.start()

    def add(self, service: str) -> None:
        """Start a service beside those that run, whatever its profile. Raises ComposeError."""
        self._run("deploy/compose", "up", "--detach", "--no-deps", service)

    def remove(self, service: str) -> None:
        """Take a service away again. Raises ComposeError."""
        self._run("deploy/compose", "rm", "--stop", "--force", service)

    def down(self) -> None:
        """Do what `just down --volumes` does."""
        self._run("deploy/compose", "down", "--remove-orphans", "--volumes", COMPOSE_PROFILES="observability")

    def containers(self, service: str | None = None) -> list[Container]:
        """Return the containers of a service, or all, those that have ended among them."""
        labels = [f"com.docker.compose.project={self.project}"]
        if service:
            labels.append(f"com.docker.compose.service={service}")
        return docker.from_env().containers.list(all=True, filters={"label": labels})

    def container(self, service: str) -> Container:
        """Return a service's container. Raises ValueError where it has more than one."""
        (container,) = self.containers(service)
        return container

    def left_overs(self) -> list[str]:
        """Name every container, network and volume of the project."""
        engine, of_project = docker.from_env(), {"label": f"com.docker.compose.project={self.project}"}
        found = [
            *engine.containers.list(all=True, filters=of_project),
            *engine.networks.list(filters=of_project),
            *engine.volumes.list(filters=of_project),
        ]
        return [each.name for each in found]

    def events(self) -> dict[UUID, list[Event]]:
        """Read every upload's events, oldest first."""
        return streams(self.database_url)

    def wait_until_all_ended(self, *, within: float) -> None:
        """Return once no upload is being processed and nothing is left to be handed on."""

        def left() -> str:
            query = "SELECT id, stage, status FROM uploads WHERE status = 'processing'"
            try:
                with psycopg.connect(self.database_url, connect_timeout=5) as connection:
                    rows = connection.execute(query).fetchall()
                    waiting = connection.execute("SELECT count(*) FROM outbox").fetchone()
            except psycopg.OperationalError as error:
                return str(error)
            return f"{rows}, outbox {waiting}" if rows or waiting != (0,) else ""

        eventually(lambda: not left(), within=within, every=0.5, or_show=left)

    def _run(self, *command: str, **env: str) -> str:
        done = subprocess.run(command, cwd=ROOT, env=self._env | env, capture_output=True, text=True)
        if done.returncode:
            raise ComposeError(f"{' '.join(command)}: exit status {done.returncode}\n{done.stdout}\n{done.stderr}")
        return done.stdout
