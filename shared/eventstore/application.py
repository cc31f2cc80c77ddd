"""The eventsourcing Application over our recorder and mapper, configured by one database URL."""

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Any, cast
from uuid import UUID

from eventsourcing.application import Application
from eventsourcing.persistence import InfrastructureFactory, Mapper
from eventsourcing.postgres import PostgresFactory
from eventsourcing.utils import Environment
from psycopg.conninfo import conninfo_to_dict

from contracts.events import Event
from shared.database.conninfo import conninfo_with_timeouts
from shared.eventstore.mapper import EventMapper
from shared.eventstore.recorder import UploadRecorder
from shared.upload.errors import UploadNotFoundError
from shared.upload.upload import Upload, fold

_PLAN_BY_INDEX = "-c plan_cache_mode=force_generic_plan -c enable_seqscan=off"
"""Every statement here finds its rows by their keys, and is planned once, when `outbox` is all but empty.

Left to itself the planner would then read the whole table for each group, and go on so once it is full of the dead rows
that a queue leaves behind.
"""


class _Factory(PostgresFactory):
    """The library's Postgres factory with our recorder."""

    application_recorder_class = UploadRecorder

    def __init__(self, env: Environment) -> None:
        super().__init__(env)
        # The library would connect right here, to look up composite types that our recorder does not use; a process has
        # to start while the database is away.
        self.datastore.register_type_adapters = lambda: None  # type: ignore[method-assign]


class UploadsApplication(Application[UUID]):
    """Stores and reads uploads' events. Blocking: call it from a thread, never from the event loop."""

    name = "upload"

    def __init__(self, database_url: str, *, pool_size: int = 2) -> None:
        self._conninfo = conninfo_to_dict(conninfo_with_timeouts(database_url))
        self._conninfo["options"] = f"{self._conninfo.get('options') or ''} {_PLAN_BY_INDEX}".strip()
        super().__init__(
            env={
                "POSTGRES_DBNAME": str(self._conninfo.get("dbname") or ""),
                "POSTGRES_HOST": "",
                "POSTGRES_PORT": "",
                "POSTGRES_USER": str(self._conninfo.get("user") or ""),
                "POSTGRES_PASSWORD": str(self._conninfo.get("password") or ""),
                "POSTGRES_POOL_SIZE": str(pool_size),
                "POSTGRES_CONNECT_TIMEOUT": "5",
                "POSTGRES_ENABLE_DB_FUNCTIONS": "no",
                "CREATE_TABLE": "no",
            }
        )

    def construct_env(self, name: str, env: Any = None) -> Environment:
        """Take the configuration from the arguments only: the process's environment is not the library's to read."""
        return Environment(name, dict(env or {}))

    def construct_factory(self, env: Environment) -> InfrastructureFactory[Any]:
        """Build the factory, and hand the pool every parameter of the URL: the library knows only five of them."""
        factory = _Factory(env)
        kwargs = factory.datastore.pool.kwargs
        if not isinstance(kwargs, dict):
            raise TypeError("the library's pool takes its parameters as a dict")
        for parameter in ("dbname", "host", "port", "user", "password"):
            kwargs.pop(parameter, None)
        kwargs.update(self._conninfo)
        if factory.datastore.enable_db_functions:
            raise RuntimeError(
                "with database functions on, the library skips the hook that writes read model and outbox"
            )
        return factory

    def construct_mapper(self) -> Mapper[UUID]:
        """Return the mapper over the contract's Structs."""
        return EventMapper()

    def load(self, upload_id: UUID) -> Upload:
        """Fold an upload from its events. Raises UploadNotFoundError."""
        upload = fold(None, self.history(upload_id))
        if upload is None:
            raise UploadNotFoundError(upload_id)
        return upload

    def record(self, events: Sequence[Event], **rows: Any) -> None:
        """Store events and the rows that go with them (see UploadRecorder). Raises the library's PersistenceError.

        What `save` does besides, for aggregates that collect their own events, would cost more than the encoding.
        """
        self.events.put(events, **rows)

    def announce(self, changed: Mapping[UUID, int]) -> None:
        """Say over NOTIFY which uploads changed, and to which version."""
        cast("UploadRecorder", self.recorder).announce(changed)

    def bring_check_forward(self, upload_id: UUID, by: dt.datetime) -> None:
        """Bring forward the check of an upload's run; nothing happens where there is none."""
        cast("UploadRecorder", self.recorder).bring_check_forward(upload_id, by)

    def states(self, events: Sequence[Event]) -> dict[UUID, bytes]:
        """Return what is stored at the versions of `events` (one an upload): upload id → the event's JSON."""
        return cast("UploadRecorder", self.recorder).select_states(
            [(event.upload_id, event.version) for event in events]
        )

    def history(self, upload_id: UUID) -> Sequence[Event]:
        """Return an upload's events, oldest first; empty where there is no such upload."""
        return list(self.events.get(upload_id))  # type: ignore[arg-type]  # the mapper gives contract events only
