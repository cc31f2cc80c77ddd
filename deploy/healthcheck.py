#!/usr/bin/env python3
"""Is the service in this container well? Asks it over HTTP, `/health/live` or the path that is named; 0 is yes.

Runs every few seconds in every container, so it loads next to nothing. The gateway answers on PORT, every other service
on HEALTH_PORT.
"""

import os
import socket
import sys
from pathlib import Path

PATIENCE = 2.0
"""Seconds."""


def main(path: str) -> int:
    """Return the exit status that Docker wants: 0 for well, 1 for unwell."""
    try:
        answer = _get(_port(), path)
    except (OSError, ValueError) as error:
        answer = str(error)
    print(answer)  # noqa: T201 — Docker keeps it for `docker inspect`
    return int(" 200 " not in answer.partition("\r\n")[0])


def _port() -> int:
    service = Path("/proc/1/cmdline").read_bytes().rstrip(b"\0").rpartition(b"\0")[2]
    return int(os.environ["PORT" if service in (b"gateway", b"all") else "HEALTH_PORT"])


def _get(port: int, path: str) -> str:
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as connection:
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        return connection.makefile("rb").read(4096).decode(errors="replace")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1] if len(sys.argv) > 1 else "/health/live"))
