"""The analytics consumer against a real event store and a server that speaks PostHog's capture endpoint."""

import asyncio
import datetime as dt
import hashlib
from collections.abc import AsyncIterator

import pytest
import uuid_utils.compat
from msgspec.structs import replace

from contracts.events import ProcessingFailed, ProcessingRequested, Stage, UploadRegistered
from services.analytics import consumer as module
from services.analytics.consumer import AnalyticsConsumer
from services.analytics.posthog_sink import PosthogSink
from shared.clock import utc_now
from shared.eventstore.application import UploadsApplication
from shared.eventstore.group_commit import GroupCommit
from shared.eventstore.store import EventStore
from shared.messaging.message import Message, RefusedMessageError
from shared.upload.decisions import request_processing
from tests.posthog_server import PosthogServer, serving

DIGEST = hashlib.sha256(b"a session token").hexdigest()


@pytest.fixture
async def store(database_url: str) -> AsyncIterator[EventStore]:
    application = UploadsApplication(database_url)
    commits = GroupCommit(application, on_committed=lambda rows: None)
    commits.start()
    yield EventStore(application, commits)
    await commits.close()
    application.close()


@pytest.fixture
async def posthog() -> AsyncIterator[PosthogServer]:
    async with serving() as server:
        yield server


async def a_failed_run(store: EventStore) -> tuple[ProcessingRequested, ProcessingFailed]:
    upload_id = uuid_utils.compat.uuid7()
    await store.append(
        UploadRegistered(
            upload_id=upload_id,
            version=1,
            occurred_at=utc_now(),
            email="ann@example.com",
            session_token_digest=DIGEST,
            original_key=f"originals/{upload_id}",
            content_type="image/jpeg",
            size_bytes=1,
            width=100,
            height=100,
        )
    )
    run = uuid_utils.compat.uuid7()
    requested = request_processing(await store.load(upload_id), workflow_run_id=run, now=utc_now())
    failed = ProcessingFailed(
        upload_id=upload_id,
        version=3,
        occurred_at=utc_now() + dt.timedelta(seconds=1),
        workflow_run_id=run,
        attempt=1,
        stage=Stage.VALIDATING,
        code="IMAGE_CORRUPT",
        message="The picture is damaged.",
        retryable=False,
    )
    await store.append(requested)
    await store.append(failed)
    return requested, failed


async def test_each_occurrence_is_one_capture_however_often_it_is_delivered(
    store: EventStore, posthog: PosthogServer
) -> None:
    events = await a_failed_run(store)
    consumer = AnalyticsConsumer(store, PosthogSink("phc_test", posthog.url))

    for event in (*events, *events, events[0]):
        await consumer.handle(Message(event=event))

    assert len(posthog.received) == 5
    started, failed = sorted(posthog.unique(), key=lambda capture: str(capture["event"]), reverse=True)
    assert (started["event"], failed["event"]) == ("processing_started", "processing_failed")
    assert started["properties"]["upload_id"] == str(events[0].upload_id)
    assert started["properties"]["workflow_run_id"] == str(events[0].workflow_run_id)
    assert (failed["properties"]["stage"], failed["properties"]["code"]) == ("validating", "IMAGE_CORRUPT")


async def test_neither_token_nor_digest_nor_email_reaches_analytics(store: EventStore, posthog: PosthogServer) -> None:
    events = await a_failed_run(store)
    consumer = AnalyticsConsumer(store, PosthogSink("phc_test", posthog.url))

    for event in events:
        await consumer.handle(Message(event=event))

    said = str(posthog.received)
    assert said.count("processing_") >= 2
    assert "ann@example.com" not in said
    assert "a session token" not in said
    assert DIGEST not in said


async def test_an_event_that_is_not_recorded_is_refused_and_not_captured(
    store: EventStore, posthog: PosthogServer
) -> None:
    requested, failed = await a_failed_run(store)
    consumer = AnalyticsConsumer(store, PosthogSink("phc_test", posthog.url))

    for forged in (
        replace(requested, workflow_run_id=uuid_utils.compat.uuid7()),
        replace(failed, code="ANOTHER"),
        replace(failed, version=4),
        replace(failed, version=2**63 - 1),
        replace(requested, upload_id=uuid_utils.compat.uuid7()),
    ):
        with pytest.raises(RefusedMessageError):
            await consumer.handle(Message(event=forged))

    assert posthog.received == []


async def test_a_capture_waits_for_posthog_to_come_back(
    store: EventStore, posthog: PosthogServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PAUSE_FIRST", 0.05)
    posthog.status = 503
    events = await a_failed_run(store)
    consumer = AnalyticsConsumer(store, PosthogSink("phc_test", posthog.url))

    waiting = asyncio.create_task(consumer.handle(Message(event=events[0])))
    await asyncio.sleep(0.3)
    assert not waiting.done()
    posthog.status = 200
    await asyncio.wait_for(waiting, 10)

    assert [capture["event"] for capture in posthog.received] == ["processing_started"]


async def test_without_a_key_messages_are_taken_as_read(store: EventStore) -> None:
    events = await a_failed_run(store)

    await asyncio.wait_for(AnalyticsConsumer(store, None).handle(Message(event=events[0])), 1)
