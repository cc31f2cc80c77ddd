"""Who a person is, and what opens their upload, is in no log line, no message and no outbox row."""

import asyncio
from uuid import UUID

import aio_pika
import psycopg
import pytest

from shared.messaging.topology import EVENTS
from tests.e2e.product import texts
from tests.photos import a_jpeg_from_a_telephone, opened

pytestmark = pytest.mark.slow

EMAIL = "quite.unmistakable@example.org"


@pytest.mark.timeout(120)
async def test_a_run_that_completes_and_one_that_fails_tell_nobody_whose_they_are(stack, client):
    photo = a_jpeg_from_a_telephone(320, 240)
    async with await aio_pika.connect(stack.env["AMQP_URL"]) as connection, connection.channel() as channel:
        everything = await channel.declare_queue(exclusive=True)
        await everything.bind(EVENTS.name, "#")

        jobs = [client.upload(photo, email=EMAIL), client.upload(photo[: len(photo) // 2], email=EMAIL)]
        rows = ""
        for job in jobs:
            assert client.start(*job).status_code == 202
            rows += _outbox(stack.database_url)
        ends = [await asyncio.to_thread(client.finished, *job) for job in jobs]
        client.http.get(f"/api/status/{jobs[0][0]}", headers={"X-Session-Token": "mistyped-" + jobs[0][1]})
        messages = []
        while (message := await everything.get(no_ack=True, fail=False)) is not None:
            messages.append(f"{message.body!r} {message.headers} {message.message_id} {message.user_id}")

    assert [end["status"] for end in ends] == ["completed", "failed"]
    assert len(messages) >= 7
    written = {**texts(stack.folder), "outbox": rows, "messages": "\n".join(messages)}
    digests = [_digest(stack.database_url, upload_id) for upload_id, _ in jobs]
    secrets = [EMAIL, "quite.unmistakable", *(token for _, token in jobs), *digests]
    assert [(name, secret) for name, text in written.items() for secret in secrets if secret in text] == []


@pytest.mark.timeout(120)
def test_what_is_served_says_nothing_of_where_and_by_whom_the_photo_was_taken(stack, client):
    upload_id, token = client.upload(a_jpeg_from_a_telephone(320, 240))
    client.start(upload_id, token)
    status = client.finished(upload_id, token)

    preview = client.http.get(status["previewUrl"]).content

    assert b"Jane Photographer" not in preview
    assert opened(preview).getexif() == {}


@pytest.mark.timeout(120)
def test_a_picture_is_reached_by_its_signed_url_alone(client):
    upload_id, token = client.upload(a_jpeg_from_a_telephone(320, 240))
    client.start(upload_id, token)
    status = client.finished(upload_id, token)
    path, _, signature = status["previewUrl"].partition("?")
    original = path.rpartition("/previews/")[0] + f"/originals/{upload_id}"

    assert client.http.get(f"{path}?{signature}").status_code == 200
    for forged in (path, f"{path}?{signature[:-4]}beef", f"{original}?{signature}", f"{path}/../x?{signature}"):
        assert client.http.get(forged).status_code == 404, forged


def _outbox(database_url):
    with psycopg.connect(database_url) as conn:
        return str(conn.execute("SELECT outbox::text FROM outbox").fetchall())


def _digest(database_url, upload_id):
    with psycopg.connect(database_url) as conn:
        query = "SELECT session_token_digest FROM uploads WHERE id = %s"
        return conn.execute(query, (UUID(upload_id),)).fetchone()[0]
