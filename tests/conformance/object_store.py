"""What every object store does. An adapter passes by subclassing the suite and saying what to open.

Fixtures of the adapter's own: `settings` (an empty store) and `unreachable` (one that cannot be reached).
"""

import array
import asyncio
import datetime as dt
import json
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import httpx
import pytest

from shared.storage.open import open_object_store
from shared.storage.port import ObjectInfo, ObjectMissingError, ObjectStore, ObjectStoreError
from tests.conformance.conftest import Settings

KEY = "originals/0190a8f2-5f0e-7c1a-9a5e-1f2e3d4c5b6a"
OTHER_KEY = "previews/0190a8f2-5f0e-7c1a-9a5e-1f2e3d4c5b6a.jpg"
BIG = 20 * 1024 * 1024 + 7  # several parts of a multipart upload, the last of them short
MINUTE = dt.timedelta(minutes=1)
HTTP_OK, HTTP_FORBIDDEN = 200, 403
OUTAGE_SECONDS = 10.0

NOT_KEYS = [
    "",
    "/",
    "/etc/passwd",
    "originals/../../etc/passwd",
    "..",
    "originals/./x",
    "originals//x",
    "originals/",
    ".signing-key",
    ".blobs/x",
    "originals\\..\\x",
    "originals/%2e%2e/x",
    "originals/x\n",
    "originals/x\0",
    "originals/é",
    "x" * 201,
    "x/" * 512 + "xx",
]


async def listed(store: ObjectStore, prefix: str) -> list[str]:
    return sorted([key async for key in store.list_keys(prefix)])


METHODS: dict[str, Callable[[ObjectStore, str, Path], Awaitable[object]]] = {
    "put": lambda store, key, _: store.put(key, b"x", "image/png"),
    "put_file": lambda store, key, path: store.put_file(key, path, "image/png"),
    "get": lambda store, key, _: store.get(key),
    "head": lambda store, key, _: store.head(key),
    "copy from": lambda store, key, _: store.copy(key, OTHER_KEY),
    "copy to": lambda store, key, _: store.copy(OTHER_KEY, key),
    "delete": lambda store, key, _: store.delete(key),
    "list_keys": lambda store, key, _: listed(store, key),
    "discard_unfinished": lambda store, key, _: store.discard_unfinished(key),
    "signed_url": lambda store, key, _: store.signed_url(key, expires=MINUTE),
    "signed_put": lambda store, key, _: store.signed_put(key, content_type="image/png", size_bytes=1, expires=MINUTE),
}

# A bucket's URLs are signed without asking it.
ASKING_METHODS = [method for method in METHODS if not method.startswith("signed")]


class ObjectStoreSuite:
    async def test_what_was_put_is_read_back(self, store: ObjectStore, another: ObjectStore) -> None:
        await store.put(KEY, b"bytes", "image/png")

        assert await another.get(KEY) == b"bytes"
        assert await another.head(KEY) == ObjectInfo(size_bytes=5, content_type="image/png")

    async def test_an_object_may_be_empty(self, store: ObjectStore) -> None:
        await store.put(KEY, b"", "text/plain; charset=utf-8")

        assert await store.get(KEY) == b""
        assert await store.head(KEY) == ObjectInfo(size_bytes=0, content_type="text/plain; charset=utf-8")

    async def test_putting_again_replaces_bytes_and_content_type(self, store: ObjectStore) -> None:
        await store.put(KEY, b"old bytes", "image/png")
        await store.put(KEY, b"new", "image/jpeg")

        assert await store.get(KEY) == b"new"
        assert await store.head(KEY) == ObjectInfo(size_bytes=3, content_type="image/jpeg")

    @pytest.mark.parametrize("size", [0, 5, 8 * 1024 * 1024, BIG])
    async def test_a_file_comes_back_whole_whatever_its_size(
        self, store: ObjectStore, tmp_path: Path, size: int
    ) -> None:
        data = _noise(size)
        path = tmp_path / "photo"
        path.write_bytes(data)

        await store.put_file(KEY, path, "image/png")

        assert await store.get(KEY) == data
        assert await store.head(KEY) == ObjectInfo(size_bytes=size, content_type="image/png")

    async def test_large_bytes_come_back_whole(self, store: ObjectStore) -> None:
        data = _noise(BIG)
        await store.put(KEY, data, "image/png")

        assert await store.get(KEY) == data

    async def test_concurrent_writers_leave_one_whole_object(self, store: ObjectStore, another: ObjectStore) -> None:
        versions = {bytes([n]) * (512 * 1024 + n): f"image/x-{n}" for n in range(8)}
        await store.put(KEY, *next(iter(versions.items())))

        async def read() -> None:
            for _ in range(20):
                assert await another.get(KEY) in versions
                assert await another.head(KEY) is not None

        writes = [s.put(KEY, data, kind) for s in (store, another) for data, kind in versions.items()]
        await asyncio.gather(read(), *writes)

        data = await store.get(KEY)
        assert await store.head(KEY) == ObjectInfo(size_bytes=len(data), content_type=versions[data])

    async def test_a_missing_object_is_said_to_be_missing(self, store: ObjectStore) -> None:
        with pytest.raises(ObjectMissingError, match=KEY):
            await store.get(KEY)
        with pytest.raises(ObjectMissingError, match=KEY):
            await store.copy(KEY, OTHER_KEY)
        with pytest.raises(ObjectMissingError, match=KEY):
            await store.copy(KEY, KEY)
        assert await store.head(KEY) is None
        assert await store.head(OTHER_KEY) is None

    async def test_a_deleted_object_is_gone_and_deleting_it_again_changes_nothing(self, store: ObjectStore) -> None:
        await store.put(KEY, b"bytes", "image/png")
        await store.delete(KEY)
        await store.delete(KEY)

        assert await store.head(KEY) is None

    async def test_the_objects_under_a_prefix_are_named_and_no_other(self, store: ObjectStore) -> None:
        under = [f"{KEY}/1", f"{KEY}/2/3", f"{KEY}/2/4"]
        for key in (*under, OTHER_KEY, f"{KEY}0", f"{KEY}-1/1", "results/1/2"):
            await store.put(key, b"bytes", "image/png")

        assert await listed(store, KEY) == under
        assert await listed(store, f"{KEY}/2") == under[1:]
        assert await listed(store, OTHER_KEY) == [OTHER_KEY]
        assert await listed(store, "previews/nobody") == []
        assert len(await listed(store, "originals")) == len(under) + 2

    async def test_what_is_listed_may_be_deleted_on_the_way(self, store: ObjectStore) -> None:
        for nth in range(25):
            await store.put(f"{KEY}/{nth}", b"bytes", "image/png")

        async for key in store.list_keys(KEY):
            await store.delete(key)

        assert await listed(store, KEY) == []
        await store.put(KEY, b"bytes", "image/png")
        assert await listed(store, KEY) == [KEY]

    async def test_discarding_what_is_unfinished_keeps_whole_objects(self, store: ObjectStore) -> None:
        kept = [f"{KEY}/1", f"{KEY}/2"]
        for key in kept:
            await store.put(key, _noise(9 * 1024 * 1024), "image/png")
        await store.put(f"{KEY}/2", b"new", "image/png")

        await store.discard_unfinished(KEY)

        assert await listed(store, KEY) == kept
        assert await store.get(f"{KEY}/1") == _noise(9 * 1024 * 1024)
        assert await store.get(f"{KEY}/2") == b"new"

    async def test_a_copy_outlives_its_source(self, store: ObjectStore) -> None:
        await store.put(KEY, b"bytes", "image/webp")
        await store.copy(KEY, OTHER_KEY)
        await store.delete(KEY)

        assert await store.get(OTHER_KEY) == b"bytes"
        assert await store.head(OTHER_KEY) == ObjectInfo(size_bytes=5, content_type="image/webp")

    async def test_a_copy_replaces_what_was_there(self, store: ObjectStore) -> None:
        await store.put(KEY, b"new", "image/webp")
        await store.put(OTHER_KEY, b"old bytes", "image/png")
        await store.copy(KEY, OTHER_KEY)
        await store.copy(KEY, KEY)

        assert await store.get(OTHER_KEY) == b"new"
        assert await store.get(KEY) == b"new"

    async def test_a_signed_url_reads_the_object(self, store: ObjectStore, browser: httpx.AsyncClient) -> None:
        await store.put(KEY, b"bytes", "image/png")

        answer = await browser.get(await store.signed_url(KEY, expires=MINUTE))

        assert (answer.status_code, answer.content) == (HTTP_OK, b"bytes")
        assert answer.headers["content-type"] == "image/png"
        assert "content-disposition" not in answer.headers

    async def test_a_signed_url_names_the_file_to_save(self, store: ObjectStore, browser: httpx.AsyncClient) -> None:
        await store.put(KEY, b"bytes", "image/png")

        answer = await browser.get(await store.signed_url(KEY, expires=MINUTE, download_as='../Café "1".png\r\n'))

        assert answer.status_code == HTTP_OK
        assert answer.headers["content-disposition"] == (
            "attachment; filename=\"..Caf_ 1.png\"; filename*=UTF-8''..Caf%C3%A9%201.png"
        )

    async def test_a_signed_url_of_nothing_reads_nothing(self, store: ObjectStore, browser: httpx.AsyncClient) -> None:
        answer = await browser.get(await store.signed_url(KEY, expires=MINUTE))

        assert answer.is_client_error

    async def test_a_url_without_its_signature_is_refused(self, store: ObjectStore, browser: httpx.AsyncClient) -> None:
        await store.put(KEY, b"bytes", "image/png")
        url = await store.signed_url(KEY, expires=MINUTE)

        assert (await browser.get(url.partition("?")[0])).status_code == HTTP_FORBIDDEN

    async def test_a_url_changed_in_any_place_is_refused(self, store: ObjectStore, browser: httpx.AsyncClient) -> None:
        await store.put(KEY, b"bytes", "image/png")
        await store.put(OTHER_KEY, b"other bytes", "image/png")
        url = await store.signed_url(KEY, expires=MINUTE, download_as="photo.png")

        for changed in [url.replace(KEY, OTHER_KEY), *_with_one_value_changed(url)]:
            assert (await browser.get(changed)).status_code == HTTP_FORBIDDEN, changed

    async def test_a_signed_url_expires(self, store: ObjectStore, browser: httpx.AsyncClient) -> None:
        await store.put(KEY, b"bytes", "image/png")
        url = await store.signed_url(KEY, expires=dt.timedelta(seconds=1))

        deadline = time.monotonic() + OUTAGE_SECONDS
        while (await browser.get(url)).status_code == HTTP_OK and time.monotonic() < deadline:
            await asyncio.sleep(0.1)

        assert (await browser.get(url)).status_code == HTTP_FORBIDDEN

    async def test_a_signed_put_writes_the_object(self, store: ObjectStore, browser: httpx.AsyncClient) -> None:
        allowed = await store.signed_put(KEY, content_type="image/png", size_bytes=5, expires=MINUTE)

        answer = await browser.put(allowed.url, headers=allowed.headers, content=b"bytes")

        assert answer.is_success
        assert await store.get(KEY) == b"bytes"
        assert await store.head(KEY) == ObjectInfo(size_bytes=5, content_type="image/png")

    async def test_a_signed_put_takes_nothing_else(self, store: ObjectStore, browser: httpx.AsyncClient) -> None:
        await store.put(OTHER_KEY, b"other", "image/png")
        allowed = await store.signed_put(KEY, content_type="image/png", size_bytes=5, expires=MINUTE)
        readable = await store.signed_url(KEY, expires=MINUTE)
        svg = {"Content-Type": "image/svg+xml"}

        answers = [
            await browser.put(allowed.url, headers=allowed.headers, content=b"more bytes"),
            await browser.put(allowed.url, headers=allowed.headers, content=b""),
            await browser.put(allowed.url, headers=svg, content=b"bytes"),
            await browser.put(allowed.url, content=b"bytes"),
            await browser.put(allowed.url.replace(KEY, OTHER_KEY), headers=allowed.headers, content=b"bytes"),
            await browser.put(readable, headers=allowed.headers, content=b"bytes"),
            await browser.get(allowed.url),
        ]

        assert [answer.status_code for answer in answers] == [HTTP_FORBIDDEN] * len(answers)
        assert await store.head(KEY) is None
        assert await store.get(OTHER_KEY) == b"other"

    @pytest.mark.parametrize("seconds", [-1, 0, 0.5, 7 * 24 * 3600 + 1])
    async def test_a_lifetime_that_no_store_can_sign_is_refused(self, store: ObjectStore, seconds: float) -> None:
        expires = dt.timedelta(seconds=seconds)

        with pytest.raises(ValueError, match="lives from one second to seven days"):
            await store.signed_url(KEY, expires=expires)
        with pytest.raises(ValueError, match="lives from one second to seven days"):
            await store.signed_put(KEY, content_type="image/png", size_bytes=1, expires=expires)

    @pytest.mark.parametrize("method", METHODS)
    async def test_what_is_no_key_is_refused_by(self, store: ObjectStore, tmp_path: Path, method: str) -> None:
        path = tmp_path / "photo"
        path.write_bytes(b"x")
        await store.put(OTHER_KEY, b"other", "image/png")

        for key in NOT_KEYS:
            with pytest.raises(ValueError, match="not an object key"):
                await METHODS[method](store, key, path)

    @pytest.mark.parametrize("content_type", ["", "png", "image/png\r\nX-Evil: 1", "../../x", "image/" + "x" * 100])
    async def test_what_is_no_content_type_is_refused(self, store: ObjectStore, content_type: str) -> None:
        with pytest.raises(ValueError, match="not a content type"):
            await store.put(KEY, b"bytes", content_type)
        with pytest.raises(ValueError, match="not a content type"):
            await store.signed_put(KEY, content_type=content_type, size_bytes=1, expires=MINUTE)

        assert await store.head(KEY) is None

    async def test_a_writer_killed_in_mid_write_changes_nothing(self, store: ObjectStore, settings: Settings) -> None:
        await store.put(KEY, b"old bytes", "image/png")

        for key in (KEY, OTHER_KEY):
            await _kill_in_mid_write(key, settings)

        assert await store.get(KEY) == b"old bytes"
        assert await store.head(KEY) == ObjectInfo(size_bytes=9, content_type="image/png")
        assert await store.head(OTHER_KEY) is None
        await store.put(OTHER_KEY, b"new bytes", "image/png")
        assert await store.get(OTHER_KEY) == b"new bytes"

    async def test_a_store_in_order_answers_a_ping(self, store: ObjectStore) -> None:
        await store.ping()

    @pytest.mark.parametrize("method", ["ping", *ASKING_METHODS])
    async def test_a_store_out_of_reach_is_said_to_be_so_by(
        self, unreachable: Settings, tmp_path: Path, method: str
    ) -> None:
        path = tmp_path / "photo"
        path.write_bytes(b"x")
        store = open_object_store(**unreachable)

        started = time.monotonic()
        with pytest.raises(ObjectStoreError) as caught:
            await (store.ping() if method == "ping" else METHODS[method](store, KEY, path))
        await store.close()

        assert time.monotonic() - started < OUTAGE_SECONDS
        assert not any(secret in str(caught.value) for key, secret in unreachable.items() if "key" in key)

    async def test_closing_twice_changes_nothing(self, store: ObjectStore) -> None:
        await store.ping()
        await store.close()
        await store.close()


def _noise(size: int) -> bytes:
    """Return bytes in which a lost, doubled or swapped block shows."""
    return array.array("Q", range(size // 8 + 1)).tobytes()[:size]


def _with_one_value_changed(url: str) -> list[str]:
    parts = urlsplit(url)
    query = parse_qsl(parts.query)
    return [
        urlunsplit(parts._replace(query=urlencode([*query[:n], (name, f"{text}1"), *query[n + 1 :]])))
        for n, (name, text) in enumerate(query)
    ]


async def _kill_in_mid_write(key: str, settings: Settings) -> None:
    """Let a process write under `key`, and kill it when it has taken much of the bytes and waits for more."""
    writer = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "tests.conformance.put_standard_input", key, json.dumps(settings)),
        cwd=Path(__file__).parents[2],
        stdin=asyncio.subprocess.PIPE,
    )
    assert writer.stdin is not None
    writer.stdin.write(_noise(BIG))
    # What drains has been read by the other side, but for what a pipe and our own buffer hold.
    await writer.stdin.drain()
    assert writer.returncode is None
    writer.kill()
    await writer.wait()
