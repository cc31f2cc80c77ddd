"""The S3 store passes the suite against a real server; and what only a bucket can show."""

import asyncio
import contextlib
import socket
import time
import traceback
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import aioboto3  # type: ignore[import-untyped, unused-ignore]  # ships no types
import httpx
import pytest
import pytest_asyncio
from aiohttp import web

from shared.storage.port import ObjectInfo, ObjectStore, ObjectStoreError
from shared.storage.s3 import S3Access, S3ObjectStore
from tests.conformance.conftest import Settings
from tests.conformance.object_store import ASKING_METHODS, HTTP_OK, KEY, METHODS, MINUTE, ObjectStoreSuite
from tests.s3_server import ACCESS_KEY_ID, SECRET_ACCESS_KEY

KEYS = {"s3_access_key_id": ACCESS_KEY_ID, "s3_secret_access_key": SECRET_ACCESS_KEY}
PART_BYTES = 5 * 1024 * 1024
S3 = Any  # boto makes its clients at run time


@pytest_asyncio.fixture
async def s3(s3_endpoint: str) -> AsyncIterator[S3]:
    """Return a plain client of the server."""
    session = aioboto3.Session(ACCESS_KEY_ID, SECRET_ACCESS_KEY, region_name="us-east-1")
    async with session.client("s3", endpoint_url=s3_endpoint) as client:
        yield client


@pytest_asyncio.fixture
async def settings(s3_endpoint: str, s3: S3) -> Settings:
    """Name an empty bucket."""
    bucket = f"darkroom-{uuid.uuid4()}"
    await s3.create_bucket(Bucket=bucket)
    return {
        "url": f"s3://{bucket}",
        "public_base_url": "http://localhost:8000",
        "s3_endpoint_url": s3_endpoint,
        **KEYS,
    }


class TestS3ObjectStore(ObjectStoreSuite):
    @pytest.fixture
    def unreachable(self) -> Settings:
        """Name a server that is not there."""
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = listener.getsockname()[1]
        return {
            "url": "s3://darkroom",
            "public_base_url": "http://localhost:8000",
            "s3_endpoint_url": f"http://127.0.0.1:{port}",
            **KEYS,
        }


def _store(endpoint: str, bucket: str = "darkroom", **options: Any) -> S3ObjectStore:
    access = S3Access(
        endpoint_url=endpoint, access_key_id=ACCESS_KEY_ID, secret_access_key=SECRET_ACCESS_KEY, region="auto"
    )
    return S3ObjectStore(bucket, access, **options)


@contextlib.asynccontextmanager
async def _answering(status: int, body: str = "", after_seconds: float = 0.0) -> AsyncIterator[str]:
    """Run a server that gives every request the same answer, and return its endpoint."""

    async def answer(_: web.Request) -> web.Response:
        await asyncio.sleep(after_seconds)
        return web.Response(status=status, text=body, content_type="application/xml")

    app = web.Application()
    app.router.add_route("*", "/{anything:.*}", answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@pytest.mark.parametrize(
    ("status", "code"),
    [(503, "SlowDown"), (500, "InternalError"), (429, "TooManyRequests"), (404, "NoSuchBucket"), (400, "Whatever")],
)
async def test_an_answer_that_is_no_answer_is_named(status: int, code: str) -> None:
    async with _answering(status, f"<Error><Code>{code}</Code></Error>") as endpoint:
        store = _store(endpoint)
        with pytest.raises(ObjectStoreError, match=rf"get '{KEY}': ClientError \({code}, HTTP {status}\)"):
            await store.get(KEY)
        await store.close()


@pytest.mark.parametrize("method", ["ping", *ASKING_METHODS])
async def test_refused_credentials_are_named_and_never_shown(tmp_path: Path, method: str) -> None:
    body = (
        f"<Error><Code>SignatureDoesNotMatch</Code><Message>no</Message><AWSAccessKeyId>{ACCESS_KEY_ID}</AWSAccessKeyId>"
        f"<StringToSign>{SECRET_ACCESS_KEY}</StringToSign></Error>"
    )
    path = tmp_path / "photo"
    path.write_bytes(b"x")
    async with _answering(403, body) as endpoint:
        store = _store(endpoint)
        with pytest.raises(ObjectStoreError, match=r"HTTP 403\); the store refuses our credentials") as caught:
            await (store.ping() if method == "ping" else METHODS[method](store, KEY, path))
        await store.close()

    shown = "".join(traceback.format_exception(caught.value)) + repr(store._access)
    assert ACCESS_KEY_ID not in shown
    assert SECRET_ACCESS_KEY not in shown


async def test_a_server_that_does_not_answer_is_given_up_on() -> None:
    async with _answering(200, after_seconds=30) as endpoint:
        store = _store(endpoint, read_timeout=0.2)
        started = time.monotonic()
        with pytest.raises(ObjectStoreError, match="ReadTimeoutError"):
            await store.get(KEY)
        await store.close()

    assert time.monotonic() - started < 5


async def test_a_body_that_breaks_off_is_no_object() -> None:
    async def cut_short(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: image/png\r\nContent-Length: 100\r\n\r\nhalf")
        writer.close()

    async with await asyncio.start_server(cut_short, "127.0.0.1", 0) as server:
        store = _store(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        with pytest.raises(ObjectStoreError, match=f"get '{KEY}': "):
            await store.get(KEY)
        await store.close()


async def test_a_bucket_that_is_not_there_fails_the_ping(s3_endpoint: str) -> None:
    store = _store(s3_endpoint, "no-such-bucket")

    with pytest.raises(ObjectStoreError, match="there is no bucket 'no-such-bucket'"):
        await store.ping()
    await store.close()


async def test_a_write_that_is_cancelled_leaves_no_parts(
    s3_endpoint: str, s3: S3, settings: Settings, tmp_path: Path
) -> None:
    bucket = settings["url"].removeprefix("s3://")
    store = _store(s3_endpoint, bucket, part_bytes=PART_BYTES)

    async def parts() -> list[Any]:
        uploads = (await s3.list_multipart_uploads(Bucket=bucket)).get("Uploads", [])
        return [
            part
            for upload in uploads
            for part in (await s3.list_parts(Bucket=bucket, Key=KEY, UploadId=upload["UploadId"])).get("Parts", [])
        ]

    path = tmp_path / "photo"
    with path.open("wb") as photo:
        photo.truncate(30 * PART_BYTES)
    write = asyncio.create_task(store.put_file(KEY, path, "image/png"))
    async with asyncio.timeout(10):
        while not await parts():
            await asyncio.sleep(0.01)
    write.cancel()
    with pytest.raises(asyncio.CancelledError):
        await write

    assert (await s3.list_multipart_uploads(Bucket=bucket)).get("Uploads", []) == []
    assert await store.head(KEY) is None
    await store.close()


async def test_the_parts_of_a_killed_write_are_discarded_and_no_others(
    s3_endpoint: str, s3: S3, settings: Settings
) -> None:
    bucket = settings["url"].removeprefix("s3://")
    store = _store(s3_endpoint, bucket)
    for key in (KEY, f"{KEY}/1", f"{KEY}0"):
        begun = await s3.create_multipart_upload(Bucket=bucket, Key=key)
        await s3.upload_part(Bucket=bucket, Key=key, UploadId=begun["UploadId"], PartNumber=1, Body=b"half")

    await store.discard_unfinished(KEY)

    left = (await s3.list_multipart_uploads(Bucket=bucket))["Uploads"]
    assert [upload["Key"] for upload in left] == [f"{KEY}0"]
    await store.close()


async def test_a_listing_of_many_pages_is_whole(s3_endpoint: str, settings: Settings) -> None:
    store = _store(s3_endpoint, settings["url"].removeprefix("s3://"), page_keys=2)
    keys = [f"{KEY}/{nth}" for nth in range(5)]
    for key in keys:
        await store.put(key, b"bytes", "image/png")

    assert [key async for key in store.list_keys(KEY)] == keys
    async for key in store.list_keys(KEY):
        await store.delete(key)
    assert [key async for key in store.list_keys(KEY)] == []
    await store.close()


async def test_a_server_that_cannot_list_unfinished_writes_is_left_to_its_own_rules() -> None:
    async with _answering(501, "<Error><Code>NotImplemented</Code></Error>") as endpoint:
        store = _store(endpoint)
        await store.discard_unfinished(KEY)
        await store.close()


async def test_type_and_size_of_a_direct_upload_are_part_of_its_signature(store: ObjectStore) -> None:
    allowed = await store.signed_put(KEY, content_type="image/png", size_bytes=5, expires=MINUTE)

    query = parse_qs(urlsplit(allowed.url).query)
    assert query["X-Amz-SignedHeaders"] == ["content-length;content-type;host"]
    assert query["X-Amz-Algorithm"] == ["AWS4-HMAC-SHA256"]
    assert query["X-Amz-Expires"] == ["60"]


async def test_signed_urls_name_the_store_as_a_browser_reaches_it(
    s3_endpoint: str, settings: Settings, browser: httpx.AsyncClient
) -> None:
    public = s3_endpoint.replace("127.0.0.1", "localhost")
    bucket = settings["url"].removeprefix("s3://")
    access = S3Access(
        endpoint_url=s3_endpoint,
        public_endpoint_url=public,
        region="auto",
        access_key_id=ACCESS_KEY_ID,
        secret_access_key=SECRET_ACCESS_KEY,
    )
    store = S3ObjectStore(bucket, access)
    await store.put(KEY, b"bytes", "image/png")

    url = await store.signed_url(KEY, expires=MINUTE)

    assert url.startswith(f"{public}/{bucket}/{KEY}?")
    assert (await browser.get(url)).status_code == HTTP_OK
    await store.close()


async def test_a_closed_store_opens_again_when_it_is_needed(store: ObjectStore) -> None:
    await store.put(KEY, b"bytes", "image/png")
    await store.close()

    assert await store.head(KEY) == ObjectInfo(size_bytes=5, content_type="image/png")
