"""Events that somebody else wrote, of every type, into every queue of a real broker: nothing comes of them.

Before: a forged `ProcessingRequested` with a stranger's key gave his picture; one for an upload that never was made a
stream that starts at version 8, a `completed` row and a call of the provider; forged ends of runs went to analytics.
"""

import contextlib
from uuid import UUID, uuid4

import psycopg
import pytest
from pamqp.commands import Basic

from contracts.events import EVENT_TYPES, ResultStored, decode, encode, routing_key
from shared.messaging.dead_letter_queues import open_dead_letters
from shared.messaging.signature import HEADER, Signer
from shared.messaging.topology import EVENTS, QUEUES, dead
from shared.storage.keys import generated_key, original_key, preview_key, result_key
from shared.upload.saga import ANALYTICS_QUEUE, ROUTES, STAGE_OF_QUEUE
from tests.attacks.hostile import a_channel, a_stack, count, publish
from tests.builders import A_WHOLE_RUN, RESULT, RUN, an_event
from tests.gemini_server import serving_in_thread
from tests.photos import a_jpeg
from tests.posthog_server import serving
from tests.waiting import until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

MINE, HIS = (320, 240), (200, 300)
"""Sizes of the two photos, by which their pictures are told apart."""


def forged(upload_id, owner, version):
    """Return an event of every type for one upload, with another's keys."""
    keys = {
        "original_key": original_key(owner),
        "generated_key": generated_key(owner, RUN, 1),
        "result_key": result_key(owner, RESULT),
        "preview_key": preview_key(owner, RESULT),
    }
    for kind in EVENT_TYPES:
        foreign = {name: key for name, key in keys.items() if name in kind.__struct_fields__}
        yield an_event(kind, upload_id=upload_id, version=version, **foreign)


async def publish_forged(channel, events):
    """Publish each to every queue and by every route, unsigned and signed with a key of one's own."""
    for event in events:
        body = encode(event)
        for headers in ({}, {HEADER: Signer("another key than theirs").sign(body)}):
            properties = Basic.Properties(headers=headers, delivery_mode=2, message_id=event.message_id)
            for queue in QUEUES:
                await publish(channel, queue, body, properties)
            if ROUTES[type(event)]:
                await publish(channel, routing_key(type(event)), body, properties, exchange=EVENTS.name)


def everything_kept(database_url, stack):
    """Return all that a forged message could have changed."""
    with psycopg.connect(database_url) as conn:
        events = conn.execute("SELECT originator_id, originator_version, state FROM upload_events ORDER BY 1, 2")
        rows = conn.execute("SELECT * FROM uploads ORDER BY id")
        outbox = conn.execute("SELECT upload_id, version, target FROM outbox ORDER BY 1, 2, 3")
        objects = sorted(path.name for path in (stack.folder / "objects").rglob("*") if path.is_file())
        return events.fetchall(), rows.fetchall(), outbox.fetchall(), objects


def stream_of(database_url, upload_id):
    with psycopg.connect(database_url) as conn:
        found = conn.execute(
            "SELECT state FROM upload_events WHERE originator_id = %s ORDER BY originator_version", (upload_id,)
        )
        return [decode(bytes(state)) for (state,) in found]


@contextlib.asynccontextmanager
async def the_product(folder, database_url, amqp_url):
    """Run everything, with a provider and an analytics server that count."""
    with serving_in_thread() as gemini:
        async with serving() as posthog:
            env = {
                "GENERATOR": "gemini",
                "GEMINI_API_KEY": "k",
                "GEMINI_BASE_URL": gemini.url,
                "POSTHOG_API_KEY": "phc_test",
                "POSTHOG_HOST": posthog.url,
            }
            async with a_stack(folder, database_url, amqp_url, **env) as stack:
                yield stack, gemini, posthog


async def test_forged_events_of_every_type_change_nothing_and_an_honest_run_gets_its_own_picture(
    tmp_path, database_url, amqp_url
):
    async with (
        the_product(tmp_path, database_url, amqp_url) as (stack, gemini, posthog),
        a_channel(amqp_url) as channel,
    ):
        client = stack.client()
        mine, my_token = client.upload(a_jpeg(*MINE))
        his, _ = client.upload(a_jpeg(*HIS))
        nobodys = uuid4()
        before = everything_kept(database_url, stack)
        events = [
            *forged(UUID(mine), UUID(his), 2),
            *forged(UUID(his), UUID(his), 2),
            *forged(nobodys, UUID(his), 7),
            *forged(nobodys, UUID(his), 1),
        ]
        await publish_forged(channel, events)

        async def all_taken():
            return sum([await count(channel, queue) for queue in QUEUES]) == 0

        await until(all_taken, within=60, every=0.2)
        assert stack.stop("all") == 0  # what it held is done with
        assert await all_taken()
        assert everything_kept(database_url, stack) == before
        assert (gemini.begun, posthog.received) == (0, [])
        assert {queue: await count(channel, dead(queue)) for queue in STAGE_OF_QUEUE} == dict.fromkeys(
            STAGE_OF_QUEUE, 0
        )
        # Of the same body more than one may have been in hand at a time: they are one message, and settled as one.
        assert await count(channel, dead(ANALYTICS_QUEUE)) >= len(events)
        async with open_dead_letters(amqp_url) as letters:
            [told] = await letters.overview(ANALYTICS_QUEUE)
        assert set(told.reasons) == {"refused: no such event is recorded"}

        stack.start("all")
        stack.wait_ready()
        assert client.start(mine, my_token).status_code == 202
        for version in (2, 3, 4, 5, 6):  # beside the run, at every place that its events may take
            await publish_forged(channel, forged(UUID(mine), UUID(his), version))
        assert client.finished(mine, my_token)["status"] == "completed"
        stream = stream_of(database_url, mine)
        assert tuple(map(type, stream)) == A_WHOLE_RUN
        [result] = [event for event in stream if isinstance(event, ResultStored)]
        assert (result.width, result.height) == MINE
        assert all(mine in str(getattr(event, name)) for event in stream for name in _keys(event))
        assert gemini.begun == 1
        await until(lambda: len(posthog.unique()) == 2, within=30)


def _keys(event):
    return [name for name in event.__struct_fields__ if name.endswith("_key")]
