"""A stage that is woken, and a run that is ended, belong to the trace of the run."""

import asyncio
import datetime as dt

from contracts.events import ProcessingRequested, UploadRegistered
from shared.clock import utc_now
from shared.eventstore.outbox import RUN_CHECK, OutboxRow
from shared.stages.outbox_dispatcher import Dispatcher
from tests.builders import a_stream, an_event
from tests.unit.stages.memory_store import MemoryStore
from tests.waiting import until

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


class Store(MemoryStore):
    """Notes which trace an append belongs to."""

    traceparent = None

    async def append(self, *events, traceparent=None, **_):
        self.traceparent = traceparent
        await super().append(*events)


class Sweep:
    """An outbox with one watch due."""

    def __init__(self, row):
        self.row = row

    async def claim(self, limit, *, only_run_checks):
        return [self.row]

    async def settle(self, keys):
        pass

    async def postpone(self, key, until):
        pass


class Road:
    up = True

    def __init__(self):
        self.sent = []

    async def send(self, row):
        self.sent.append(row)


async def swept(*, deadline_in):
    """Look after a run whose validator has been silent for long; return its store, and what was sent."""
    now = utc_now()
    asked = an_event(ProcessingRequested, deadline_at=now + dt.timedelta(seconds=deadline_in))
    stream = a_stream(UploadRegistered, asked)
    store, road = Store(), Road()
    store.write(*stream)
    row = OutboxRow(event=stream[1], target=RUN_CHECK, available_at=now, traceparent=PARENT)
    await Dispatcher(Sweep(row), store, road).sweep_once()
    async with asyncio.timeout(5):
        await until(lambda: road.sent or store.traceparent)
    return store, road


async def test_a_wake_up_carries_the_trace_of_the_run():
    _, road = await swept(deadline_in=600)
    assert [(row.target, row.traceparent) for row in road.sent] == [("validator", PARENT)]


async def test_a_time_out_is_recorded_in_the_trace_of_the_run():
    store, road = await swept(deadline_in=-1)
    assert store.traceparent == PARENT
    assert road.sent == []
