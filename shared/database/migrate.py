"""Brings the schema up to date with yoyo, from numbered SQL files beside this module."""

import contextlib
from collections.abc import Iterator
from importlib.resources import files
from typing import Any
from urllib.parse import quote, urlencode

import psycopg
from psycopg.conninfo import conninfo_to_dict
from yoyo import get_backend, read_migrations

from shared.database import locks


def migrate(database_url: str) -> list[str]:
    """Apply what is missing and name it; an empty list where the schema was up to date. Waits for a rebuild to end.

    Safe to run twice and from several places at once. A run that was killed leaves nothing that stops the next one: the
    advisory lock goes with its connection, and yoyo's own lock row is cleared by whoever holds that lock.
    Raises psycopg.Error where the database cannot be reached or refuses.
    """
    with psycopg.connect(database_url, autocommit=True) as conn:
        conn.execute("SELECT pg_advisory_lock(%s)", (locks.MIGRATION,))
        with _backend(database_url) as backend:
            backend.break_lock()
            missing = backend.to_apply(_migrations())
            if missing:
                # A rebuild swaps in a table of the shape that `uploads` had when it began.
                conn.execute("SELECT pg_advisory_lock(%s)", (locks.REBUILD,))
            with backend.lock():
                backend.apply_migrations(missing)
            return [migration.id for migration in missing]


def pending(database_url: str) -> list[str]:
    """Name the migrations that the database lacks. Raises psycopg.Error where it cannot be reached."""
    with _backend(database_url) as backend:
        return [migration.id for migration in backend.to_apply(_migrations())]


@contextlib.contextmanager
def _backend(database_url: str) -> Iterator[Any]:
    backend = get_backend(_yoyo_url(database_url))
    try:
        yield backend
    finally:
        backend.connection.close()


def _migrations() -> Any:
    return read_migrations(str(files(__package__) / "migrations"))


def _yoyo_url(database_url: str) -> str:
    """Return the URL in yoyo's spelling (driver psycopg 3). A socket's folder travels as a parameter."""
    parts = {key: str(value) for key, value in conninfo_to_dict(database_url).items() if value is not None}
    user, password = quote(parts.pop("user", ""), safe=""), quote(parts.pop("password", ""), safe="")
    dbname, port = quote(parts.pop("dbname", ""), safe=""), parts.pop("port", "")
    host = "" if parts.get("host", "").startswith("/") else parts.pop("host", "")
    credentials = f"{user}:{password}@" if user else ""
    where = f"{host}:{port}" if port else host
    return f"postgresql+psycopg://{credentials}{where}/{dbname}" + (f"?{urlencode(parts)}" if parts else "")
