"""A process's parts as handlers ask for them. Not validated at each request: they are ours, and one is a Protocol."""

from collections.abc import Mapping
from typing import Annotated

from litestar.di import Provide
from litestar.params import Dependency
from psycopg_pool import AsyncConnectionPool

from services.gateway.direct import DirectUploads
from services.gateway.streams import StatusStreams
from shared.bootstrap import BothWays
from shared.cpu import CpuPool
from shared.eventstore.store import EventStore
from shared.projection.changes import UploadChanges
from shared.projection.queries import UploadQueries
from shared.settings import Analytics
from shared.storage.local import LocalObjectStore
from shared.storage.port import ObjectStore

_OURS = Dependency(skip_validation=True)

Store = Annotated[EventStore, _OURS]
Reads = Annotated[UploadQueries, _OURS]
Objects = Annotated[ObjectStore, _OURS]
Local = Annotated[LocalObjectStore, _OURS]
Cpu = Annotated[CpuPool, _OURS]
Pool = Annotated[AsyncConnectionPool, _OURS]
Carrier = Annotated[BothWays, _OURS]
Changes = Annotated[UploadChanges, _OURS]
Streams = Annotated[StatusStreams, _OURS]
AnalyticsSettings = Annotated[Analytics, _OURS]
Direct = Annotated[DirectUploads, _OURS]


def provided(parts: Mapping[str, object]) -> dict[str, Provide]:
    """Give Litestar's dependencies: each handler's parameter of that name gets that part."""
    return {name: _provide(part) for name, part in parts.items()}


def _provide(part: object) -> Provide:
    def give() -> object:
        return part

    return Provide(give, use_cache=True, sync_to_thread=False)
