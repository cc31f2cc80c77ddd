"""Processes that use the embedded PostgreSQL of a folder, as `darkroom dev` and the operator's commands do."""

import os
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psutil

ROOT = Path(__file__).parent.parent
_USE = """
import sys
from pathlib import Path
from shared.database.embedded_postgres import start_embedded_postgres
print(start_embedded_postgres(Path(sys.argv[1])), flush=True)
sys.stdin.read()
"""


class DatabaseUser:
    """A process that has the server of a folder running until the context ends. `run_as` is for subprocess."""

    def __init__(self, data: Path, **run_as: Any) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", _USE, str(data)],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            cwd="/",
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            **run_as,
        )
        assert self._process.stdout is not None
        self.url = self._process.stdout.readline().strip()

    def __enter__(self) -> Self:
        if not self.url:
            self.end()
            raise AssertionError("the server did not start")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.end()

    def end(self) -> None:
        """Let it end by itself, and wait for that."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(60)
        self._process.stdout.close()

    def kill(self) -> None:
        self._process.kill()
        self.end()


def server_of(data: Path) -> psutil.Process | None:
    """Return the server process of a folder, or None where there is none."""
    lock = data / "postmaster.pid"
    if not lock.exists():
        return None
    try:
        process = psutil.Process(int(lock.read_text().split()[0]))
        return process if process.status() != psutil.STATUS_ZOMBIE else None
    except psutil.NoSuchProcess:
        return None
