"""The real services as processes of their own, on the tests' servers: start, kill, stop, and look at what they did."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx

from shared.upload.saga import SERVICES
from tests.servers import free_port

SIGNING_KEY = "a key that only tests sign with, and nobody else"
"""With it a fresh message costs no read of the stream, as in production."""


class Stack:
    """A set of `darkroom serve` processes over one database and one virtual host; each writes a log into `folder`.

    Leaving the context ends whatever still runs. `env` adds settings, such as GEMINI_BASE_URL.
    """

    def __init__(self, folder: Path, database_url: str, amqp_url: str, env: Mapping[str, str] | None = None) -> None:
        self.folder = folder
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.database_url = database_url
        self.env = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(Path(__file__).parent.parent),
            "DATABASE_URL": database_url,
            "AMQP_URL": amqp_url,
            "MESSAGE_SIGNING_KEY": SIGNING_KEY,
            "OBJECT_STORE_URL": (folder / "objects").as_uri(),
            "GENERATOR": "local",
            "PORT": str(self.port),
            "LOG_FORMAT": "json",
            "GRACE_PERIOD": "10",
            **(env or {}),
        }
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self._clients: list[Client] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        for name in list(self.processes):
            self.kill(name)
        for client in self._clients:
            client.http.close()

    def client(self) -> "Client":
        """Return a client of the gateway, closed with the stack."""
        self._clients.append(Client(self.url))
        return self._clients[-1]

    def start(self, *services: str) -> None:
        """Start services, each as `NAME` or, for one more of its kind, `NAME#2`."""
        for name in services:
            with (self.folder / f"{name}.log").open("ab") as log:
                self.processes[name] = subprocess.Popen(
                    [sys.executable, "-m", "services.cli.main", "serve", name.partition("#")[0]],
                    env=self.env,
                    stdout=log,
                    stderr=log,
                )

    def start_all(self) -> None:
        """Start every service, and wait until the gateway answers."""
        self.start(*SERVICES)
        self.wait_ready()

    def kill(self, name: str) -> None:
        """SIGKILL: the service has no chance to say goodbye."""
        process = self.processes.pop(name)
        process.kill()
        process.wait()

    def stop(self, name: str, *, within: float = 30) -> int:
        """SIGTERM, as a cluster does; return the exit status."""
        process = self.processes.pop(name)
        process.terminate()
        return process.wait(within)

    def signal(self, name: str, number: signal.Signals) -> None:
        """Send any other signal, such as SIGSTOP and SIGCONT."""
        self.processes[name].send_signal(number)

    def wake_all(self) -> None:
        """SIGCONT to every service, in case one is still frozen."""
        for process in self.processes.values():
            process.send_signal(signal.SIGCONT)

    def wait_ready(self, *, within: float = 100) -> None:
        """Wait until the gateway says that it can take work."""

        def ready() -> bool:
            with contextlib.suppress(httpx.TransportError):
                return httpx.get(f"{self.url}/health/ready", timeout=2).status_code == 200
            return False

        eventually(ready, within=within, or_show=self.logs)

    def logs(self) -> str:
        """Return the end of every service's log, for a failing test."""
        return "\n".join(
            f"--- {path.name}\n{path.read_text(errors='replace')[-3000:]}" for path in sorted(self.folder.glob("*.log"))
        )


def eventually(
    true: Callable[[], bool], *, within: float, every: float = 0.1, or_show: Callable[[], str] = lambda: ""
) -> None:
    """Wait for a condition. Raises AssertionError with `or_show` where it is not true within `within` seconds."""
    deadline = time.monotonic() + within
    while not true():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {within} s\n{or_show()}")
        time.sleep(every)


class Client:
    """A client written from the interface's description: uploads, starts, polls."""

    def __init__(self, url: str) -> None:
        self.http = httpx.Client(base_url=url, timeout=30)

    def upload(self, image: bytes, *, name: str = "photo.jpg", email: str = "ann@example.com") -> tuple[str, str]:
        """Upload a photo and give (upload id, session token)."""
        answer = self.http.post("/api/uploads", files={"image": (name, image)}, data={"email": email})
        assert answer.status_code == 201, answer.text
        body = answer.json()
        return body["uploadId"], body["sessionToken"]

    def start(self, upload_id: str, token: str) -> httpx.Response:
        """Ask for processing."""
        return self.http.post("/api/process", json={"uploadId": upload_id}, headers={"X-Session-Token": token})

    def status(self, upload_id: str, token: str) -> dict[str, object]:
        """Ask where the job stands."""
        answer = self.http.get(f"/api/status/{upload_id}", headers={"X-Session-Token": token})
        assert answer.status_code == 200, answer.text
        body: dict[str, object] = answer.json()
        return body

    def finished(self, upload_id: str, token: str, *, within: float = 60) -> dict[str, object]:
        """Poll until the job has ended and return its last status."""

        def over() -> bool:
            return self.status(upload_id, token)["status"] in ("completed", "failed")

        eventually(over, within=within, or_show=lambda: str(self.status(upload_id, token)))
        return self.status(upload_id, token)


@contextlib.contextmanager
def stack(
    folder: Path, database_url: str, amqp_url: str, env: Mapping[str, str] | None = None
) -> Iterator[tuple[Stack, Client]]:
    """Return the whole stack, running, and a client of it."""
    with Stack(folder, database_url, amqp_url, env) as running:
        running.start_all()
        yield running, running.client()
