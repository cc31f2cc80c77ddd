"""PostgreSQL from a wheel, for a machine that has none: data and socket in a directory that is its own, no port."""

import atexit
import contextlib
import fcntl
import os
import pwd
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import psycopg

from shared.database.postgres_wheel import EmbeddedPostgresError, account_for, programs_for

SOCKET = ".s.PGSQL.5432"
ADDRESS_ROOM = 100
"""Bytes that a socket's address may have: 107 on Linux, 103 on macOS."""
READY_WITHIN = 60.0
"""Seconds that a server which another process has started is waited for."""

# Only the user who runs the server, and root, can enter the directory with the socket; who connects is checked as well.
_OPTIONS = "-h '' -k . -p 5432"
_RULES = "# darkroom writes this file at each start.\nlocal all all peer map=darkroom\n"

_servers: dict[Path, "EmbeddedPostgres"] = {}
_starting = threading.Lock()


def start_embedded_postgres(data_dir: Path) -> str:
    """Start the server of `data_dir` unless it runs, create it at first use, and return its URL.

    It stops when the last process that asked for it ends, and recovers like any PostgreSQL where one was killed.
    Raises EmbeddedPostgresError.
    """
    data_dir = data_dir.absolute()
    with _starting:
        if data_dir not in _servers:
            _servers[data_dir] = EmbeddedPostgres(data_dir)
        return _servers[data_dir].url


class EmbeddedPostgres:
    """The server of one data directory, in use by this process and maybe by others, and stopped by the last of them.

    Two locks beside the data say who uses it: `.lock` is held while it is started or stopped, `.users` is shared by all
    who use it. The system lets go of them however a process ends.
    """

    def __init__(self, data_dir: Path) -> None:
        self._data = data_dir
        self._data.parent.mkdir(parents=True, exist_ok=True)
        self._account = account_for(data_dir)
        self._programs = programs_for(data_dir, self._account)
        self._lock, self._users = self._lock_file(".lock"), self._lock_file(".users")
        with self._alone():
            fcntl.flock(self._users, fcntl.LOCK_SH)
            if not (self._data / "PG_VERSION").exists():
                self._create()
            # The address of a socket is too short for many a path.
            self._way = self._short_way()
            self.url = f"postgresql://postgres@/postgres?host={quote(str(self._way))}&port=5432"
            self._start()
        atexit.register(self.close)

    def close(self) -> None:
        """Stop the server, unless another process uses it."""
        with self._alone(), contextlib.suppress(BlockingIOError, FileNotFoundError):
            fcntl.flock(self._users, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._run("pg_ctl", "-w", "-m", "fast", "stop")
        os.close(self._users)
        os.close(self._lock)
        if self._way != self._data:
            shutil.rmtree(self._way.parent, ignore_errors=True)

    def _create(self) -> None:
        """Create the cluster beside its place and move it there when it is complete: a kill leaves no half of one."""
        new = self._data.with_name(f"{self._data.name}.new")
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir(mode=0o700)
        if self._account:
            os.chown(new, self._account.uid, self._account.gid)
        self._run("initdb", "--username=postgres", "--auth=peer", "--encoding=utf8", within=new)
        new.rename(self._data)

    def _start(self) -> None:
        if self._answers(self._way):
            self._wait_until_ready()
            return
        self._stop_one_that_is_open_to_others()
        self._write("pg_hba.conf", _RULES)
        self._write("pg_ident.conf", f'darkroom "{_own_name()}" postgres\n')
        self._run("pg_ctl", "-w", "-t", str(int(READY_WITHIN)), "-o", _OPTIONS, "-l", "log", "start")

    def _stop_one_that_is_open_to_others(self) -> None:
        """Stop a server that an earlier release left running with its socket in a shared folder."""
        with contextlib.suppress(FileNotFoundError, IndexError):
            folder = (self._data / "postmaster.pid").read_text().splitlines()[4]
            if folder.startswith("/") and Path(folder) != self._data and self._answers(Path(folder)):
                self._run("pg_ctl", "-w", "-m", "fast", "stop")

    def _answers(self, folder: Path) -> bool:
        with socket.socket(socket.AF_UNIX) as connection, contextlib.suppress(OSError):
            connection.connect(str(folder / SOCKET))
            return True
        return False

    def _wait_until_ready(self) -> None:
        until = time.monotonic() + READY_WITHIN
        while True:
            try:
                psycopg.connect(self.url, connect_timeout=5).close()
            except psycopg.OperationalError as error:
                if time.monotonic() > until:
                    raise EmbeddedPostgresError(f"the PostgreSQL of {self._data} does not answer: {error}") from error
                time.sleep(0.05)
            else:
                return

    def _short_way(self) -> Path:
        """Return a path to the data that fits into a socket's address: a link in a folder of ours, where it must be."""
        if len(os.fsencode(self._data / SOCKET)) <= ADDRESS_ROOM and "," not in str(self._data):
            return self._data
        folder = Path(tempfile.mkdtemp(prefix="darkroom-"))
        if len(os.fsencode(folder / "data" / SOCKET)) > ADDRESS_ROOM:
            folder.rmdir()
            folder = Path(tempfile.mkdtemp(prefix="darkroom-", dir="/tmp"))
        (folder / "data").symlink_to(self._data)
        return folder / "data"

    def _write(self, name: str, text: str) -> None:
        """Replace a file of the server's, never following a link in its place."""
        handle, new = tempfile.mkstemp(dir=self._data, prefix=name)
        with os.fdopen(handle, "w") as file:
            file.write(text)
            if self._account:
                os.fchown(handle, self._account.uid, self._account.gid)
        Path(new).replace(self._data / name)

    def _run(self, program: str, *options: str, within: Path | None = None) -> None:
        """Run a program of PostgreSQL's in its data directory, as its owner. Raises EmbeddedPostgresError."""
        folder = within or self._data
        # The account cannot enter every folder above the data, nor need it: the program is born inside.
        data = "/proc/self/cwd" if self._account and sys.platform == "linux" else str(folder)
        done = subprocess.run(  # noqa: S603 — the wheel's programs, with words of ours
            [str(self._programs / program), "-D", data, *options],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            user=self._account.uid if self._account else None,
            group=self._account.gid if self._account else None,
            extra_groups=[] if self._account else None,
        )
        if done.returncode:
            log = folder / "log"
            said = log.read_text(errors="replace")[-2000:] if log.exists() else ""
            raise EmbeddedPostgresError(f"{program} failed in {folder}:\n{done.stdout}{done.stderr}{said}")

    def _lock_file(self, suffix: str) -> int:
        return os.open(self._data.with_name(self._data.name + suffix), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Hold the lock under which the server is started and stopped."""
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(self._lock, fcntl.LOCK_UN)


def _own_name() -> str:
    """Return the name of the user who connects. One without a name is refused by PostgreSQL in any case."""
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())
