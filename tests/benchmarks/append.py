"""Appends a second: group commit against one by one, and against the bare INSERT of the same rows."""

import asyncio
import datetime as dt
import time
from collections.abc import Iterator, Sequence
from uuid import UUID

import uuid_utils.compat

from contracts.events import Event, ProcessingRequested
from shared.eventstore.application import UploadsApplication
from shared.eventstore.group_commit import MAX_GROUP, GroupCommit
from shared.eventstore.outbox import rows_for
from shared.storage.keys import original_key
from shared.upload.saga import RUN_DEADLINE
from tests.benchmarks import streams
from tests.benchmarks.bare import store
from tests.benchmarks.ground import Ground
from tests.benchmarks.report import Figure, Result

IN_FLIGHT = 64


async def run(ground: Ground) -> Result:
    rounds = ground.pick(quick=2, usual=5)
    grouped, single = ground.pick(quick=(500, 200), usual=(3000, 600))
    url = ground.database()
    ground.say("registering uploads")
    ids = iter(streams.fill(url, rounds * (4 * grouped + single), streams.REGISTERED))
    got: dict[str, list[float]] = {name: [] for name in ("grouped", "settled", "single", "rows", "events")}
    for nth in range(rounds):
        ground.say(f"round {nth + 1} of {rounds}")
        got["rows"].append(store.all_rows(url, requests(ids, grouped)))
        got["grouped"].append(await rate(url, requests(ids, grouped)))
        got["events"].append(store.events_only(url, requests(ids, grouped)))
        got["settled"].append(await rate(url, requests(ids, grouped), remove_published=True))
        got["single"].append(await rate(url, requests(ids, single), max_group=1))
    floor = f"the same rows, bare INSERTs, {store.GROUP} in a transaction"
    beside = {"floor": floor, "floor_rounds": got["rows"]}
    return Result(
        name="append",
        about="ProcessingRequested to registered uploads: event, read model and two outbox rows in one transaction",
        settings={"in flight": str(IN_FLIGHT), "appends a round": str(grouped), "rounds": str(rounds)},
        figures=[
            Figure(name=f"group commit, {IN_FLIGHT} in flight", unit="appends/s", rounds=got["grouped"], **beside),
            Figure(name="with each outbox row settled", unit="appends/s", rounds=got["settled"], **beside),
            Figure(name="one by one (max_group=1)", unit="appends/s", rounds=got["single"], **beside),
            Figure(name="bare INSERT of the event rows alone", unit="rows/s", rounds=got["events"]),
        ],
    )


def requests(ids: Iterator[UUID], number: int) -> list[ProcessingRequested]:
    """Return `number` events that start runs of registered uploads."""
    now = dt.datetime.now(dt.UTC)
    return [
        ProcessingRequested(
            upload_id=upload_id,
            version=2,
            occurred_at=now,
            workflow_run_id=uuid_utils.compat.uuid7(),
            attempt=1,
            original_key=original_key(upload_id),
            deadline_at=now + RUN_DEADLINE,
        )
        for upload_id, _ in zip(ids, range(number), strict=False)
    ]


async def rate(
    url: str, events: Sequence[Event], *, max_group: int = MAX_GROUP, remove_published: bool = False
) -> float:
    """Append through a group commit of its own, IN_FLIGHT at a time; give appends a second."""
    application = UploadsApplication(url)

    def committed(rows):
        if remove_published:
            commits.remove_published([row.key for row in rows])

    commits = GroupCommit(application, on_committed=committed, max_group=max_group)
    commits.start()
    application.history(events[0].upload_id)  # so that connecting is not measured
    waiting = iter(events)

    async def keep_appending() -> None:
        for event in waiting:
            await commits.append([event], rows_for(event))

    began = time.perf_counter()
    await asyncio.gather(*(keep_appending() for _ in range(IN_FLIGHT)))
    taken = time.perf_counter() - began
    await commits.close()
    application.close()
    return len(events) / taken
