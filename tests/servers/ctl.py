"""Virtual hosts by `rabbitmqctl`, for a server beside us that has no management API."""

import json
import shutil
import subprocess


class RabbitCtl:
    """RabbitMQ's command line. Each call starts an Erlang machine: about a second."""

    def create_vhost(self, name: str, user: str) -> None:
        self._run("rabbitmqctl", "add_vhost", name)
        self._run("rabbitmqctl", "set_permissions", "-p", name, user, ".*", ".*", ".*")

    def delete_vhost(self, name: str) -> None:
        self._run("rabbitmqctl", "delete_vhost", name)

    def runs_the_server_at(self, host: str, port: int) -> bool:
        """Return whether the node that the command line reaches is the one that listens at this address."""
        if host not in {"localhost", "127.0.0.1", "::1"} or shutil.which("rabbitmqctl") is None:
            return False
        try:
            status = json.loads(self._run("rabbitmqctl", "--quiet", "--formatter", "json", "status"))
        except (subprocess.SubprocessError, ValueError):
            return False
        listeners = [(listener["protocol"], listener["port"]) for listener in status.get("listeners", [])]
        return ("amqp", port) in listeners

    def _run(self, *command: str) -> str:
        return subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout
