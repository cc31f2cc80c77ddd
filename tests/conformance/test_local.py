"""The local store passes the suite; and what only a directory can show."""

import asyncio
import io
import os
import shutil
import stat
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import pytest
import pytest_asyncio

from shared.storage.local import LocalObjectStore
from shared.storage.port import ObjectStoreError
from shared.storage.signing import BadSignatureError, ExpiredSignatureError
from tests.conformance.conftest import Settings
from tests.conformance.object_store import KEY, MINUTE, ObjectStoreSuite
from tests.conformance.objects_app import serving

BASE_URL = "http://localhost:8000"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Name a directory that does not exist yet."""
    return tmp_path / "some" / "objects"


class TestLocalObjectStore(ObjectStoreSuite):
    @pytest_asyncio.fixture
    async def settings(self, root: Path) -> AsyncIterator[Settings]:
        """Name an empty directory and somebody who serves its signed URLs."""
        async with serving(root) as base_url:
            yield {"url": root.as_uri(), "public_base_url": base_url}

    @pytest.fixture
    def unreachable(self, tmp_path: Path) -> Settings:
        """Name a directory that cannot be one, since a file is in its place."""
        (tmp_path / "file").write_text("in the way")
        return {"url": (tmp_path / "file").as_uri(), "public_base_url": BASE_URL}


async def test_replacing_and_deleting_leave_no_bytes_behind(root: Path) -> None:
    store = LocalObjectStore(root, BASE_URL)
    await asyncio.gather(*(store.put(KEY, bytes([n]), "image/png") for n in range(50)))

    assert len(list((root / ".blobs").iterdir())) == 1

    await store.delete(KEY)

    assert list((root / ".blobs").iterdir()) == []


async def test_what_a_killed_writer_left_is_swept_after_a_day(root: Path) -> None:
    await LocalObjectStore(root, BASE_URL).ping()
    old, new = root / ".blobs" / "1.image%2Fpng.part", root / ".blobs" / "2.image%2Fpng.part"
    for part in (old, new):
        part.write_bytes(b"half")
    yesterday = time.time() - 25 * 3600
    os.utime(old, (yesterday, yesterday))

    await LocalObjectStore(root, BASE_URL).ping()

    assert [part.exists() for part in (old, new)] == [False, True]


async def test_bytes_that_a_killed_writer_left_are_discarded_and_no_others(root: Path) -> None:
    store = LocalObjectStore(root, BASE_URL)
    await store.put(KEY, b"kept", "image/png")
    await store.put("previews/1/2", b"another's", "image/png")
    [blob] = (root / ".blobs").glob(f"{(root / KEY).readlink().name}")
    owner = blob.name.partition("-")[0]
    # Killed while the bytes came in, and between their last one and the link to them.
    left = [root / ".blobs" / f"{owner}-{name}" for name in ("1.image%2Fpng.part", "2.image%2Fpng")]
    for path in left:
        path.write_bytes(b"left")

    await store.discard_unfinished(KEY)

    assert [path.exists() for path in left] == [False, False]
    assert await store.get(KEY) == b"kept"
    assert await store.get("previews/1/2") == b"another's"
    with pytest.raises(ObjectStoreError, match="two segments"):
        await store.discard_unfinished("originals")


async def test_a_write_whose_bytes_were_discarded_fails_and_leaves_no_link(root: Path) -> None:
    store = LocalObjectStore(root, BASE_URL)
    await store.ping()
    directory = store._directory
    blob = directory._write_blob(KEY, io.BytesIO(b"bytes"), "image/png")
    await store.discard_unfinished(KEY)

    with pytest.raises(FileNotFoundError):
        directory._swing_link(root / KEY, blob)

    assert await store.head(KEY) is None
    assert not (root / KEY).is_symlink()
    assert list((root / ".blobs").iterdir()) == []


async def test_deleting_the_last_object_of_a_folder_removes_the_folder(root: Path) -> None:
    store = LocalObjectStore(root, BASE_URL)
    for key in ("generated/1/2/3", "generated/1/2/4", "generated/5"):
        await store.put(key, b"bytes", "image/png")

    await store.delete("generated/1/2/3")
    assert (root / "generated/1/2").is_dir()
    await store.delete("generated/1/2/4")

    assert sorted(path.name for path in (root / "generated").iterdir()) == ["5"]
    await asyncio.gather(*(_put_and_delete(store, nth) for nth in range(40)))
    assert sorted(path.name for path in (root / "generated").iterdir()) == ["5"]


async def _put_and_delete(store: LocalObjectStore, nth: int) -> None:
    await store.put(f"generated/1/{nth}", b"bytes", "image/png")
    await store.delete(f"generated/1/{nth}")


async def test_processes_that_start_together_agree_on_the_signing_key(root: Path) -> None:
    code = (
        "import sys, pathlib; from shared.storage.directory import ObjectDirectory;"
        "print(ObjectDirectory(pathlib.Path(sys.argv[1])).secret('.signing-key').hex())"
    )
    processes = [
        await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", code, str(root)), cwd=Path(__file__).parents[2], stdout=asyncio.subprocess.PIPE
        )
        for _ in range(6)
    ]
    answers = {(await process.communicate())[0].strip() for process in processes}

    assert answers == {(root / ".signing-key").read_bytes().hex().encode()}
    assert stat.S_IMODE((root / ".signing-key").stat().st_mode) == stat.S_IRUSR | stat.S_IWUSR
    assert stat.S_IMODE(root.stat().st_mode) == stat.S_IRWXU


async def test_an_expired_url_is_told_from_a_forged_one(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = LocalObjectStore(root, BASE_URL)
    query = dict(parse_qsl(urlsplit(await store.signed_url(KEY, expires=MINUTE, download_as="a.png")).query))

    assert store.verify_get(KEY, query) == "a.png"
    for forged in ({}, {**query, "signature": "é"}, {**query, "expires": "soon"}, {**query, "expires": "9" * 30}):
        with pytest.raises(BadSignatureError, match="does not fit"):
            store.verify_get(KEY, forged)

    in_a_minute = time.time() + MINUTE.total_seconds()
    monkeypatch.setattr("shared.storage.signing.time.time", lambda: in_a_minute)
    with pytest.raises(ExpiredSignatureError):
        store.verify_get(KEY, query)


async def test_a_url_of_another_store_is_refused(root: Path, tmp_path: Path) -> None:
    query = dict(parse_qsl(urlsplit(await LocalObjectStore(root, BASE_URL).signed_url(KEY, expires=MINUTE)).query))

    with pytest.raises(BadSignatureError):
        LocalObjectStore(tmp_path / "other", BASE_URL).verify_get(KEY, query)


async def test_an_opened_object_stays_readable_when_it_is_replaced(root: Path) -> None:
    store = LocalObjectStore(root, BASE_URL)
    await store.put(KEY, b"old bytes", "image/png")

    with store.open_path(KEY).open("rb") as file:
        await store.put(KEY, b"new bytes", "image/png")

        assert file.read() == b"old bytes"


async def test_a_directory_that_went_away_has_not_lost_its_objects(root: Path) -> None:
    store = LocalObjectStore(root, BASE_URL)
    await store.put(KEY, b"bytes", "image/png")
    root.rename(root.with_name("unmounted"))

    with pytest.raises(ObjectStoreError, match="directory is gone"):
        await store.get(KEY)
    with pytest.raises(ObjectStoreError):
        await store.put(KEY, b"bytes", "image/png")

    root.with_name("unmounted").rename(root)

    assert await store.get(KEY) == b"bytes"


async def test_a_store_can_be_moved_with_its_objects(root: Path, tmp_path: Path) -> None:
    store = LocalObjectStore(root, BASE_URL)
    await store.put(KEY, b"bytes", "image/png")
    moved = shutil.copytree(root, tmp_path / "moved", symlinks=True)

    assert await LocalObjectStore(moved, BASE_URL).get(KEY) == b"bytes"


async def test_a_key_inside_another_key_is_refused_and_leaves_nothing(root: Path) -> None:
    store = LocalObjectStore(root, BASE_URL)
    await store.put("a/b", b"bytes", "image/png")

    for key in ("a", "a/b/c"):
        with pytest.raises(ObjectStoreError, match=key):
            await store.put(key, b"bytes", "image/png")
        assert await store.head(key) is None

    assert len(list((root / ".blobs").iterdir())) == 1
