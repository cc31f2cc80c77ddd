"""What handlers of several rooms ask for by name. Litestar does not validate it: it is ours, and partly Protocols."""

from collections.abc import Mapping

from litestar.di import NamedDependency, Provide
from litestar.params import SkipValidation
from psycopg_pool import AsyncConnectionPool

from shared.bootstrap import ConsumingTransport
from shared.cpu_pool import CpuPool
from shared.eventstore.pending_uploads import PendingUploads
from shared.eventstore.store import EventStore
from shared.read_model.queries import UploadQueries
from shared.settings import Analytics
from shared.storage.local import LocalObjectStore
from shared.storage.port import ObjectStore

Store = NamedDependency[SkipValidation[EventStore]]
Reads = NamedDependency[SkipValidation[UploadQueries]]
Objects = NamedDependency[SkipValidation[ObjectStore]]
Local = NamedDependency[SkipValidation[LocalObjectStore]]
Announced = NamedDependency[SkipValidation[PendingUploads]]
Cpu = NamedDependency[SkipValidation[CpuPool]]
Pool = NamedDependency[SkipValidation[AsyncConnectionPool]]
TransportDependency = NamedDependency[SkipValidation[ConsumingTransport]]
AnalyticsSettings = NamedDependency[SkipValidation[Analytics]]


def as_dependencies(parts: Mapping[str, object]) -> dict[str, Provide]:
    """Return Litestar's dependencies: each handler's parameter of that name gets that part."""
    return {name: _provide(part) for name, part in parts.items()}


def _provide(part: object) -> Provide:
    def give() -> object:
        return part

    return Provide(give, use_cache=True, sync_to_thread=False)
