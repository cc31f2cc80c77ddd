"""A process's parts as handlers ask for them. Not validated at each request: they are ours, and one is a Protocol."""

from collections.abc import Mapping
from typing import NamedTuple

from litestar.di import NamedDependency, Provide
from litestar.params import SkipValidation
from psycopg_pool import AsyncConnectionPool

from services.gateway.jobs.status_streams import StatusStreams
from services.gateway.jobs.waiters import Waiters
from services.gateway.uploads.direct_uploads import DirectUploads
from services.gateway.uploads.spools import Spools
from shared.bootstrap import ConsumingTransport
from shared.cpu_pool import CpuPool
from shared.eventstore.pending_uploads import PendingUploads
from shared.eventstore.store import EventStore
from shared.read_model.changes import ChangeListener
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
Streams = NamedDependency[SkipValidation[StatusStreams]]
AnalyticsSettings = NamedDependency[SkipValidation[Analytics]]
WaitersPart = NamedDependency[SkipValidation[Waiters]]
SpoolsPart = NamedDependency[SkipValidation[Spools]]
Direct = NamedDependency[SkipValidation[DirectUploads]]


class JobDependencies(NamedTuple):
    """What the two most called routes need, as one dependency: several, Litestar resolves in a task group each time."""

    store: EventStore
    reads: UploadQueries
    objects: ObjectStore
    changes: ChangeListener
    waiters: Waiters


Jobs = NamedDependency[SkipValidation[JobDependencies]]


def as_dependencies(parts: Mapping[str, object]) -> dict[str, Provide]:
    """Return Litestar's dependencies: each handler's parameter of that name gets that part."""
    return {name: _provide(part) for name, part in parts.items()}


def _provide(part: object) -> Provide:
    def give() -> object:
        return part

    return Provide(give, use_cache=True, sync_to_thread=False)
