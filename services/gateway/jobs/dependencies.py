"""What the handlers of jobs ask for by name."""

from typing import NamedTuple

from litestar.di import NamedDependency
from litestar.params import SkipValidation

from services.gateway.jobs.status_streams import StatusStreams
from services.gateway.jobs.waiters import Waiters
from shared.eventstore.store import EventStore
from shared.read_model.changes import ChangeListener
from shared.read_model.queries import UploadQueries
from shared.storage.port import ObjectStore

Streams = NamedDependency[SkipValidation[StatusStreams]]
WaitersPart = NamedDependency[SkipValidation[Waiters]]


class JobDependencies(NamedTuple):
    """What the two most called routes need, as one dependency: several, Litestar resolves in a task group each time."""

    store: EventStore
    reads: UploadQueries
    objects: ObjectStore
    changes: ChangeListener
    waiters: Waiters


Jobs = NamedDependency[SkipValidation[JobDependencies]]
