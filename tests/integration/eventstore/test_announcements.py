"""An upload is registered only while its announcement stands: of registration and erasure the first is the only."""

import asyncio
import datetime as dt
from uuid import uuid4

from eventsourcing.persistence import OperationalError

from contracts.events import UploadRegistered
from shared.eventstore.group_commit import ConflictError
from shared.eventstore.pending_uploads import PendingUploads
from shared.eventstore.personal_data import NotAnnouncedError
from tests.builders import an_event
from tests.integration.eventstore.opened import asked, opened

HOUR = dt.timedelta(hours=1)


async def announced(parts, number):
    ids = [uuid4() for _ in range(number)]
    for each in ids:
        await PendingUploads(parts.pool).add_unnamed(each, lifetime=HOUR)
    return ids


async def ends_of(*acts):
    return [end if end is None else type(end) for end in await asyncio.gather(*acts, return_exceptions=True)]


def register(parts, upload_id, **content):
    return parts.store.append(an_event(UploadRegistered, upload_id=upload_id, **content), announced=True, wait=30)


async def test_one_whose_announcement_is_gone_is_refused_and_no_other_of_its_group(database_url):
    async with opened(database_url) as parts:
        ids = await announced(parts, 20)
        gone = ids[::4]
        for each in gone:
            assert await PendingUploads(parts.pool).withdraw(each, who="ann", why="asked")

        ends = await ends_of(*(register(parts, each) for each in ids))

        assert ends == [NotAnnouncedError if each in gone else None for each in ids]
        assert asked(database_url, "SELECT count(*)::int FROM uploads") == [(15,)]
        assert asked(database_url, "SELECT count(*)::int FROM pending_uploads") == [(0,)]


async def test_a_second_registration_is_a_conflict_and_not_for_want_of_an_announcement(database_url):
    async with opened(database_url) as one, opened(database_url) as other:
        [upload_id] = await announced(one, 1)
        rivals = [register(parts, upload_id, original_key=f"originals/{nth}") for nth, parts in enumerate((one, other))]

        assert sorted(await ends_of(*rivals), key=str) == [ConflictError, None]


async def test_a_registration_whose_answer_was_lost_is_known_for_our_own(database_url):
    async with opened(database_url) as parts:
        [upload_id] = await announced(parts, 1)
        really_save, lost = parts.commits._save, []

        def save_and_lose_the_answer(group, settled):
            really_save(group, settled)
            if not lost:
                lost.append(True)
                raise OperationalError("server closed the connection unexpectedly")

        parts.commits._save = save_and_lose_the_answer
        await register(parts, upload_id)

        assert lost
        assert asked(database_url, "SELECT count(*)::int FROM upload_events") == [(1,)]


async def test_registering_and_withdrawing_at_once_never_both_succeed_and_never_deadlock(database_url):
    async with opened(database_url) as one, opened(database_url) as other:
        ids = await announced(one, 60)
        pending = PendingUploads(one.pool)
        acts = [
            *(register(parts, each) for each in ids for parts in (one, other)),
            *(pending.withdraw(each, who="ann", why="asked") for each in reversed(ids)),
        ]
        ends = await asyncio.wait_for(asyncio.gather(*acts, return_exceptions=True), 60)
        registered = {row[0] for row in asked(database_url, "SELECT id FROM uploads")}

    withdrawn = dict(zip(reversed(ids), ends[2 * len(ids) :], strict=True))
    assert {type(end) for end in ends[: 2 * len(ids)]} <= {type(None), ConflictError, NotAnnouncedError}
    for each in ids:
        assert (withdrawn[each] is None) == (each in registered)
