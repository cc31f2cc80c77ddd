"""Photos past the gateway: announced, sent straight to the object store, looked at, registered."""

import datetime as dt
import uuid
from concurrent.futures import ThreadPoolExecutor

import httpx
import psycopg
import pytest
from psycopg_pool import AsyncConnectionPool

from shared.eventstore.object_cleanups import ObjectCleanups
from shared.eventstore.pending_uploads import PendingUploads
from shared.eventstore.stream_reader import StreamReader
from shared.operations.object_cleanup import ObjectCleaner
from shared.storage.local import LocalObjectStore
from tests.integration.gateway.gateways import PHOTO, problem
from tests.photos import a_png, a_png_that_claims


def announce(gateway, content=PHOTO, content_type="image/jpeg", **other):
    body = {"email": "ann@example.com", "contentType": content_type, "sizeBytes": len(content), **other}
    return gateway.http.post("/api/uploads/presign", json=body)


def put(announced, content=PHOTO, **headers):
    return httpx.request(announced["method"], announced["url"], content=content,
                         headers={**announced["headers"], **headers})  # fmt: skip


def complete(gateway, announced, token=None):
    headers = {"X-Session-Token": announced["sessionToken"] if token is None else token}
    return gateway.http.post(f"/api/uploads/{announced['uploadId']}/complete", headers=headers)


def objects(gateway):
    store = gateway.stack.folder / "objects"
    return sorted(str(path.relative_to(store)) for path in store.rglob("*") if path.is_symlink())


def blobs(gateway):
    return len(list((gateway.stack.folder / "objects" / ".blobs").iterdir()))


def test_an_upload_past_the_gateway_is_as_good_as_one_through_it(gateway):
    announced = announce(gateway).json()
    assert announced["method"] == "PUT"
    assert put(announced).status_code == 200
    answer = complete(gateway, announced)
    assert answer.status_code == 200
    assert answer.json() == {"success": True, "uploadId": announced["uploadId"], "status": "pending"}
    assert gateway.client.start(announced["uploadId"], announced["sessionToken"]).status_code == 202
    with psycopg.connect(gateway.stack.database_url) as conn:
        key, email = conn.execute(
            "SELECT original_key, email FROM uploads WHERE id = %s", (announced["uploadId"],)
        ).fetchone()
    assert email == "ann@example.com"
    assert [name for name in objects(gateway) if announced["uploadId"] in name] == [key]
    assert (gateway.stack.folder / "objects" / key).read_bytes() == PHOTO


def test_completing_again_changes_nothing_and_says_how_it_stands(gateway):
    announced = announce(gateway).json()
    put(announced)
    complete(gateway, announced)
    gateway.client.start(announced["uploadId"], announced["sessionToken"])
    put(announced)
    answer = complete(gateway, announced)
    assert (answer.status_code, answer.json()["status"]) == (200, "processing")


def test_completing_twice_at_one_moment_registers_once_and_keeps_one_copy(gateway):
    announced = announce(gateway).json()
    put(announced)
    with ThreadPoolExecutor(6) as threads:
        codes = list(threads.map(lambda _: complete(gateway, announced).status_code, range(6)))
    # One that came while another was at it is told so, and need only ask again.
    assert 200 in codes
    assert set(codes) <= {200, 409}
    assert complete(gateway, announced).status_code == 200
    with psycopg.connect(gateway.stack.database_url) as conn:
        [key] = conn.execute("SELECT original_key FROM uploads WHERE id = %s", (announced["uploadId"],)).fetchone()
    assert [name for name in objects(gateway) if announced["uploadId"] in name] == [key]


def test_what_is_written_after_the_look_is_not_what_was_registered(gateway):
    announced = announce(gateway).json()
    put(announced)
    complete(gateway, announced)
    other = bytes(len(PHOTO))
    assert put(announced, other).status_code == 200
    with psycopg.connect(gateway.stack.database_url) as conn:
        [key] = conn.execute("SELECT original_key FROM uploads WHERE id = %s", (announced["uploadId"],)).fetchone()
    assert (gateway.stack.folder / "objects" / key).read_bytes() == PHOTO


def test_without_the_object_it_is_not_complete_and_may_be_later(gateway):
    announced = announce(gateway).json()
    problem(complete(gateway, announced), 409, "UPLOAD_INCOMPLETE")
    put(announced)
    assert complete(gateway, announced).status_code == 200


def test_an_announced_upload_is_its_owners_only(gateway):
    announced = announce(gateway).json()
    put(announced)
    problem(complete(gateway, announced, token=""), 401, "INVALID_SESSION_TOKEN")
    problem(complete(gateway, announced, token="wrong"), 401, "INVALID_SESSION_TOKEN")
    unknown = {**announced, "uploadId": str(uuid.uuid4())}
    problem(complete(gateway, unknown), 404, "UPLOAD_NOT_FOUND")
    complete(gateway, announced)
    problem(complete(gateway, announced, token="wrong"), 401, "INVALID_SESSION_TOKEN")


def test_it_cannot_be_processed_before_it_is_complete(gateway):
    announced = announce(gateway).json()
    put(announced)
    problem(gateway.client.start(announced["uploadId"], announced["sessionToken"]), 404, "UPLOAD_NOT_FOUND")


@pytest.mark.parametrize(
    ("content", "content_type", "status", "code"),
    [
        (b"not a picture at all", "image/jpeg", 415, "UNSUPPORTED_IMAGE"),
        (a_png(), "image/jpeg", 415, "UNSUPPORTED_IMAGE"),
        (a_png_that_claims(20, 20), "image/png", 400, "IMAGE_TOO_SMALL"),
        (a_png_that_claims(20_000, 20_000), "image/png", 413, "IMAGE_TOO_LARGE"),
    ],
)
def test_what_is_refused_when_looked_at_leaves_nothing_and_stays_refused(gateway, content, content_type, status, code):
    announced = announce(gateway, content, content_type).json()
    assert put(announced, content).status_code == 200
    first = problem(complete(gateway, announced), status, code)
    assert [name for name in objects(gateway) if announced["uploadId"] in name] == []
    again = problem(complete(gateway, announced), status, code)
    assert {**again, "requestId": ""} == {**first, "requestId": ""}
    problem(gateway.client.start(announced["uploadId"], announced["sessionToken"]), 404, "UPLOAD_NOT_FOUND")


@pytest.mark.parametrize(
    ("other", "status", "code"),
    [
        ({"email": "nobody"}, 400, "INVALID_REQUEST"),
        ({"email": "ann@example.com\n and more"}, 400, "INVALID_REQUEST"),
        ({"sizeBytes": 0}, 400, "INVALID_REQUEST"),
        ({"sizeBytes": "1"}, 400, "INVALID_REQUEST"),
        ({"sizeBytes": 1.5}, 400, "INVALID_REQUEST"),
        ({"sizeBytes": 50 * 1024 * 1024 + 1}, 413, "IMAGE_TOO_LARGE"),
        ({"sizeBytes": 10**30}, 413, "IMAGE_TOO_LARGE"),
        ({"contentType": "image/gif"}, 415, "UNSUPPORTED_IMAGE"),
        ({"contentType": "image/jpeg\r\nX: y"}, 415, "UNSUPPORTED_IMAGE"),
        ({"key": "originals/other"}, 400, "INVALID_REQUEST"),
    ],
)
def test_what_may_not_be_sent_is_refused_before_it_is(gateway, other, status, code):
    problem(announce(gateway, **other), status, code)


def test_a_url_takes_exactly_what_was_announced(gateway):
    announced = announce(gateway).json()
    before = blobs(gateway)
    problem(put(announced, PHOTO + b"x"), 403, "SIGNATURE_MISMATCH")
    problem(put(announced, PHOTO[:-1]), 403, "SIGNATURE_MISMATCH")
    problem(put(announced, **{"Content-Type": "image/png"}), 403, "SIGNATURE_MISMATCH")
    elsewhere = {**announced, "url": announced["url"].replace("/incoming/", "/originals/")}
    problem(put(elsewhere), 403, "SIGNATURE_MISMATCH")
    problem(put({**announced, "url": announced["url"].partition("?")[0]}), 403, "SIGNATURE_MISMATCH")
    assert httpx.get(announced["url"]).status_code == 404
    assert blobs(gateway) == before
    problem(put(announced, iter([PHOTO])), 411, "LENGTH_REQUIRED")


def test_a_write_that_breaks_off_leaves_nothing(gateway):
    announced = announce(gateway).json()
    url = httpx.URL(announced["url"])
    head = (
        f"PUT {url.raw_path.decode()} HTTP/1.1\r\nHost: x\r\nContent-Type: image/jpeg\r\nContent-Length: {len(PHOTO)}"
    )
    before = blobs(gateway)
    with gateway.raw() as connection:
        connection.sendall(head.encode() + b"\r\n\r\n" + PHOTO[:1000])
    problem(complete(gateway, announced), 409, "UPLOAD_INCOMPLETE")
    assert blobs(gateway) == before


async def test_what_nobody_came_back_for_is_removed_with_its_object(gateway):
    kept, forgotten = announce(gateway).json(), announce(gateway).json()
    put(kept)
    put(forgotten)
    url = gateway.stack.database_url
    with psycopg.connect(url) as conn:
        conn.execute(
            "UPDATE pending_uploads SET expires_at = now() - interval '1 hour' WHERE id = %s", (forgotten["uploadId"],)
        )
    problem(complete(gateway, forgotten), 404, "UPLOAD_NOT_FOUND")
    store = LocalObjectStore(gateway.stack.folder / "objects", gateway.url)
    async with AsyncConnectionPool(url, open=False, min_size=1, kwargs={"autocommit": True}) as pool:
        announced, cleaner = PendingUploads(pool), ObjectCleaner(ObjectCleanups(pool), StreamReader(pool), store)
        assert await announced.expire(10, late=dt.timedelta(hours=2)) == 0
        await cleaner.round()
        assert f"incoming/{forgotten['uploadId']}" in objects(gateway)
        assert await announced.expire(10) == 1
        await cleaner.round()
    names = objects(gateway)
    assert f"incoming/{forgotten['uploadId']}" not in names
    assert f"incoming/{kept['uploadId']}" in names
    with psycopg.connect(url) as conn:
        ids = [str(row[0]) for row in conn.execute("SELECT id FROM pending_uploads").fetchall()]
    assert kept["uploadId"] in ids
    assert forgotten["uploadId"] not in ids
    assert complete(gateway, kept).status_code == 200
