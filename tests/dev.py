"""`darkroom dev` as a process of its own, on a port of its own."""

import os
import subprocess
import sys
from pathlib import Path

import httpx
import psutil

from tests.servers import free_port
from tests.stack import eventually

ROOT = Path(__file__).parent.parent


class Dev:
    """`darkroom dev` in a folder, with its data where it keeps them by default; `env` adds settings."""

    def __init__(self, folder, **env):
        self.folder = folder
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.env = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "PYTHONPATH": str(ROOT),
            "PORT": str(self.port),
            "LOG_FORMAT": "json",
            **env,
        }

    def start(self):
        with (self.folder / "dev.log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "services.cli.main", "dev"],
                env=self.env,
                cwd=self.folder,
                stdout=log,
                stderr=log,
            )
        eventually(self._ready, within=60, or_show=self.log)

    def kill(self):
        self.process.kill()
        self.process.wait()

    def stop(self):
        self.process.terminate()
        return self.process.wait(30)

    def log(self):
        return (self.folder / "dev.log").read_text(errors="replace")[-4000:]

    def database_is_up(self):
        """Return whether the embedded PostgreSQL runs, by the process that its lock file names."""
        lock = self.folder / ".darkroom" / "postgres" / "postmaster.pid"
        return lock.exists() and psutil.pid_exists(int(lock.read_text().split()[0]))

    def end(self):
        """Stop it where it still runs, and wait until its database is down, too."""
        if self.process.poll() is None:
            self.stop()
        eventually(lambda: not self.database_is_up(), within=30, or_show=self.log)

    def _ready(self):
        try:
            return httpx.get(f"{self.url}/health/ready", timeout=2).status_code == 200
        except httpx.TransportError:
            return False
