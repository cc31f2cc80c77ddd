"""A RabbitMQ for the tests: one that AMQP_URL names, a private node from the installed package, or a container."""

import os
import secrets
import shutil
import signal
import time
from contextlib import suppress
from pathlib import Path
from typing import Protocol
from urllib.parse import quote, unquote, urlsplit, urlunsplit

import httpx

from tests.servers import container
from tests.servers.answers import speaks_amqp
from tests.servers.ctl import RabbitCtl
from tests.servers.power import NoServerError, NotOurs, Power, Server, free_port
from tests.servers.program import Program

_MISSING = """The tests need RabbitMQ, and there is none. One of these brings it:
  - apt-get install rabbitmq-server, or brew install rabbitmq (the tests start a node of their own from it)
  - AMQP_URL=amqp://… of a server on which the tests may create virtual hosts
  - a running Docker"""

_NO_VHOSTS = """AMQP_URL is set, but nothing there lets the tests create virtual hosts, and they share none with others.
Enable the management plugin (and set AMQP_MANAGEMENT_URL if it does not answer at {url}) and
give a user with the administrator tag, or run the tests as root beside the server, where rabbitmqctl works."""

# Erlang's port mapper as a child of ours, which ends with us. Erlang itself would take one that happens to run, or
# start a daemon that outlives us; it is told not to. Not everybody who has `erl` on the path has `epmd` there.
_WITH_OWN_EPMD = """
epmd=$(command -v epmd) || {
    for epmd in "$(erl -noshell -eval 'io:put_chars(code:root_dir()), halt().')"/erts-*/bin/epmd; do :; done
}
[ -x "$epmd" ] || { echo "there is no epmd beside erl"; exit 1; }
"$epmd" &
until "$epmd" -names; do sleep 0.05; done
exec "$0"
"""

_SETTLED = 5.0
"""Seconds after which a queue's workers have started."""


class Admin(Protocol):
    """Who creates and deletes virtual hosts."""

    def create_vhost(self, name: str, user: str) -> None:
        """Create a virtual host in which the user may do everything."""

    def delete_vhost(self, name: str) -> None:
        """Delete a virtual host with all that is in it."""


class RabbitServer(Server):
    """One server. Every test works in a virtual host of its own."""

    def __init__(self, amqp_url: str, management_url: str | None, power: Power, admin: Admin) -> None:
        super().__init__(power)
        self.amqp_url = amqp_url
        self.management_url = management_url
        self._admin = admin
        self._doomed: list[tuple[float, str]] = []
        self._up_since = time.monotonic()
        self.start = self._start
        self.ensure_up = self._ensure_up
        self.close = self._close

    def create_vhost(self) -> str:
        """Create a virtual host that nobody else uses and return its URL."""
        self._delete_doomed()
        name = f"darkroom-test-{secrets.token_hex(6)}"
        self._admin.create_vhost(name, unquote(urlsplit(self.amqp_url).username or "guest"))
        return urlunsplit(urlsplit(self.amqp_url)._replace(path=f"/{name}"))

    def delete_vhost(self, url: str) -> None:
        """Have a virtual host deleted, whoever is still connected to it; a little later, or with the server.

        A quorum queue that dead-letters at least once has a worker for it. One whose queue is deleted while it starts
        crashes, and in RabbitMQ 3.10 takes all others of the node with it: no such queue works again before a restart.
        """
        self._doomed.append((time.monotonic(), vhost_name(url)))

    def _delete_doomed(self) -> None:
        for doomed in list(self._doomed):
            since, name = doomed
            if time.monotonic() - max(since, self._up_since) > _SETTLED:
                self._admin.delete_vhost(name)
                self._doomed.remove(doomed)

    def _start(self) -> None:
        self.power.start()
        self._up_since = time.monotonic()

    def _ensure_up(self) -> None:
        self.power.ensure_up()
        self._up_since = time.monotonic()

    def _close(self) -> None:
        if not self.is_ours:
            for _, name in self._doomed:
                self._admin.delete_vhost(name)
        self.power.close()


class Management:
    """RabbitMQ's management API."""

    def __init__(self, url: str, user: str, password: str) -> None:
        self.url = url
        # No connection is kept: a test's outage would leave a dead one in the pool for the next test to trip over.
        limits = httpx.Limits(max_keepalive_connections=0)
        self._client = httpx.Client(base_url=f"{url}/api", auth=(user, password), timeout=30, limits=limits)

    def create_vhost(self, name: str, user: str) -> None:
        everything = {"configure": ".*", "write": ".*", "read": ".*"}
        self._client.put(f"/vhosts/{quote(name, safe='')}", json={}).raise_for_status()
        path = f"/permissions/{quote(name, safe='')}/{quote(user, safe='')}"
        self._client.put(path, json=everything).raise_for_status()

    def delete_vhost(self, name: str) -> None:
        answer = self._client.delete(f"/vhosts/{quote(name, safe='')}")
        if answer.status_code != httpx.codes.NOT_FOUND:
            answer.raise_for_status()

    def may_administer(self) -> bool:
        """Return whether the API answers and knows us as an administrator."""
        with suppress(httpx.HTTPError, ValueError):
            answer = self._client.get("/whoami", timeout=5)
            return answer.is_success and "administrator" in answer.json().get("tags", [])
        return False


def vhost_name(url: str) -> str:
    return unquote(urlsplit(url).path[1:]) or "/"


def open_rabbit() -> RabbitServer:
    """Return a RabbitMQ. Never one that merely happens to run on this machine. Raises NoServerError."""
    if url := os.environ.get("AMQP_URL"):
        return _given_rabbit(url)
    if _start_script() is not None:
        return private_rabbit()
    if container.docker_answers():
        url, management_url, power = container.rabbit()
        return RabbitServer(url, management_url, power, Management(management_url, "guest", "guest"))
    raise NoServerError(_MISSING)


def private_rabbit() -> RabbitServer:
    """Start a node of our own. Raises NoServerError where RabbitMQ is not installed."""
    script = _start_script()
    if script is None:
        raise NoServerError(_MISSING)
    power = PrivateRabbit(script)
    power.start()
    return RabbitServer(power.amqp_url, power.management.url, power, power.management)


def _given_rabbit(url: str) -> RabbitServer:
    parts = urlsplit(url)
    management_url = os.environ.get("AMQP_MANAGEMENT_URL") or f"http://{parts.hostname}:15672"
    management = Management(management_url, unquote(parts.username or "guest"), unquote(parts.password or "guest"))
    if management.may_administer():
        return RabbitServer(url, management_url, NotOurs(), management)
    control = RabbitCtl()
    if control.runs_the_server_at(parts.hostname or "", parts.port or 5672):
        return RabbitServer(url, None, NotOurs(), control)
    raise NoServerError(_NO_VHOSTS.format(url=management_url))


class PrivateRabbit(Program):
    """A node with its own name, ports, folder, cookie and epmd: it neither meets nor disturbs any other node."""

    name = "rabbitmq"
    quit_by = signal.SIGKILL

    def __init__(self, script: Path) -> None:
        super().__init__()
        self._port, management_port, dist_port = (free_port() for _ in range(3))
        self.amqp_url = f"amqp://guest:guest@127.0.0.1:{self._port}/"
        self.management = Management(f"http://127.0.0.1:{management_port}", "guest", "guest")
        self._script = script
        folder = self.folder
        (folder / "plugins").write_text("[rabbitmq_management].\n")
        (folder / "environment").write_text("")
        (folder / "rabbitmq.conf").write_text(
            f"listeners.tcp.1 = 127.0.0.1:{self._port}\n"
            f"management.tcp.ip = 127.0.0.1\n"
            f"management.tcp.port = {management_port}\n"
            # A laptop's disk may be fuller than a server's; the node would refuse every publication.
            f"disk_free_limit.absolute = 50MB\n"
            # The write-ahead log of quorum queues is made at its full size, half a gigabyte if nothing is said.
            f"raft.wal_max_size_bytes = 67108864\n"
        )
        self._env = {
            "PATH": os.environ.get("PATH", os.defpath),
            "LANG": "C.UTF-8",
            "HOME": str(folder),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODENAME": f"darkroom-{secrets.token_hex(4)}@localhost",
            "RABBITMQ_DIST_PORT": str(dist_port),
            "RABBITMQ_CONF_ENV_FILE": str(folder / "environment"),
            "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq.conf"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "plugins"),
            "RABBITMQ_MNESIA_BASE": str(folder / "mnesia"),
            "RABBITMQ_LOG_BASE": str(folder / "logs"),
            "RABBITMQ_LOGS": "-",
            "RABBITMQ_PID_FILE": str(folder / "pid"),
            "RABBITMQ_GENERATED_CONFIG_DIR": str(folder / "config"),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1} -start_epmd false",
        }

    def start(self) -> None:
        # Of each start its own: while the node was down, somebody else's may have taken the port.
        self.epmd_port = free_port()
        env = {**self._env, "ERL_EPMD_PORT": str(self.epmd_port)}
        self.launch(["/bin/sh", "-c", _WITH_OWN_EPMD, str(self._script)], env=env)

    def stop(self) -> None:
        self.terminate(signal.SIGTERM)

    def answers(self) -> bool:
        return speaks_amqp("127.0.0.1", self._port) and self.management.may_administer()


def _start_script() -> Path | None:
    """Find RabbitMQ's own start script."""
    places = [os.environ.get("PATH", os.defpath), "/usr/sbin", "/usr/local/sbin", "/opt/homebrew/sbin"]
    found = shutil.which("rabbitmq-server", path=os.pathsep.join(places))
    if found is None:
        return None
    script = Path(found).resolve()
    # Debian puts a wrapper before it, which only runs the system's own node, as the system's own user.
    return script.with_name("rabbitmq-server") if script.name == "rabbitmq-script-wrapper" else script
