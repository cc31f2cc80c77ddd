"""Objects as files, for the local store: bytes in, durable and whole or not at all, whoever dies in between.

    root/.blobs/<random>.<content type>     the bytes, never changed once they have this name
    root/originals/4f…                      a symbolic link to the object's present bytes

The link is what makes an object: replacing it swaps bytes and content type in one step. All of this blocks.
"""

import contextlib
import errno
import fcntl
import os
import secrets
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO
from urllib.parse import quote, unquote

from shared.storage.port import ObjectInfo, ObjectMissingError, ObjectStoreError

_PART = ".part"
_ABANDONED_SECONDS = 24 * 3600  # longer than any write takes
_READ_TRIES = 20


class ObjectDirectory:
    """One directory, shared by any number of processes. A key must not be the folder of another key."""

    def __init__(self, root: Path) -> None:
        self._root = root.absolute()
        self._blobs = self._root / ".blobs"
        self._ready = False

    def write(self, key: str, source: BinaryIO, content_type: str) -> None:
        """Write all that `source` still holds."""
        with _as_store_errors("write", key):
            self._prepare()
            replaced = self._swing_link(self._root / key, self._write_blob(source, content_type))
            if replaced is not None:
                replaced.unlink(missing_ok=True)

    def open(self, key: str) -> BinaryIO:
        """Open the object's bytes; what was opened stays readable when it is replaced. Raises ObjectMissingError."""
        with _as_store_errors("read", key):
            for _ in range(_READ_TRIES):
                # A writer may take the bytes away between our two looks; then the link leads elsewhere already.
                with contextlib.suppress(FileNotFoundError):
                    return self.path(key).open("rb")
        msg = f"read {key!r}: its bytes are gone"
        raise ObjectStoreError(msg)

    def path(self, key: str) -> Path:
        """Return the file that holds the object's bytes now. Raises ObjectMissingError."""
        with _as_store_errors("read", key):
            self._prepare()
            blob = _target(self._root / key)
            if blob is None and not self._blobs.is_dir():
                # A volume that went away has not lost its objects: that may pass, a missing object does not.
                raise FileNotFoundError(errno.ENOENT, "the store's directory is gone")
        if blob is None:
            raise ObjectMissingError(key)
        return blob

    def describe(self, blob: BinaryIO) -> ObjectInfo:
        """Say what an opened object is."""
        content_type = unquote(Path(blob.name).name.partition(".")[2])
        return ObjectInfo(size_bytes=os.fstat(blob.fileno()).st_size, content_type=content_type)

    def delete(self, key: str) -> None:
        """Remove the object, if there is one."""
        link = self._root / key
        with _as_store_errors("delete", key):
            self._prepare()
            with self._lock():
                blob = _target(link)
                if blob is None:
                    return
                link.unlink()
            _sync_directory(link.parent)
            blob.unlink(missing_ok=True)

    def check(self) -> None:
        """Write and remove a file. Raises ObjectStoreError where the directory is not ours to use."""
        with _as_store_errors("ping", str(self._root)):
            self._prepare()
            probe = self._blobs / f"{secrets.token_hex(16)}{_PART}"
            probe.touch(mode=0o600, exist_ok=False)
            probe.unlink()

    def secret(self, name: str) -> bytes:
        """Return the secret kept in this directory, made at first use; every process gets the same one."""
        with _as_store_errors("read", name):
            self._prepare()
            path = self._root / name
            if not path.exists():
                self._make_secret(path)
            return path.read_bytes()

    def _make_secret(self, path: Path) -> None:
        draft = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(secrets.token_bytes(32))
            _sync(file)
        # A link fails where the name is taken: of several processes one wins, and nobody reads half a secret.
        with contextlib.suppress(FileExistsError):
            os.link(draft, path)
        draft.unlink()
        _sync_directory(path.parent)

    def _prepare(self) -> None:
        if self._ready:
            return
        _make_directories(self._blobs)
        # A process killed in mid-write leaves its part behind: out of sight, but on the disk.
        for part in self._blobs.glob(f"*{_PART}"):
            with contextlib.suppress(FileNotFoundError):
                if time.time() - part.lstat().st_mtime > _ABANDONED_SECONDS:
                    part.unlink()
        self._ready = True

    def _write_blob(self, source: BinaryIO, content_type: str) -> Path:
        blob = self._blobs / f"{secrets.token_hex(16)}.{quote(content_type, safe='')}"
        part = blob.with_name(f"{blob.name}{_PART}")
        try:
            with part.open("xb") as file:
                shutil.copyfileobj(source, file, 1024 * 1024)
                _sync(file)
            part.rename(blob)
        except BaseException:
            part.unlink(missing_ok=True)
            raise
        # Bytes before the link that leads to them, also after a power cut.
        _sync_directory(self._blobs)
        return blob

    def _swing_link(self, link: Path, blob: Path) -> Path | None:
        """Let the key's link lead to `blob` and return the bytes that it led to before, which nobody needs any more."""
        draft = self._blobs / f"{blob.name}.link{_PART}"
        try:
            _make_directories(link.parent)
            draft.symlink_to(os.path.relpath(blob, link.parent))
            # Two writers that both found the same old bytes would leave the loser's bytes behind for good.
            with self._lock():
                replaced = _target(link)
                draft.replace(link)
        except OSError:
            draft.unlink(missing_ok=True)
            blob.unlink()
            raise
        # Before the old bytes go: after a power cut the link must not lead to them again.
        _sync_directory(link.parent)
        return replaced

    @contextlib.contextmanager
    def _lock(self) -> Iterator[None]:
        """Hold the directory's lock, against other processes and other threads; the kernel lets go of a dead one's."""
        with (self._root / ".lock").open("ab") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


@contextlib.contextmanager
def _as_store_errors(doing: str, key: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        msg = f"{doing} {key!r}: {type(error).__name__} ({error.strerror})"
        raise ObjectStoreError(msg) from error


def _target(link: Path) -> Path | None:
    return link.parent / link.readlink() if link.is_symlink() else None


def _make_directories(path: Path) -> None:
    """Make a directory and its parents, each entered durably in its own parent."""
    if path.is_dir():
        return
    _make_directories(path.parent)
    path.mkdir(mode=0o700, exist_ok=True)
    _sync_directory(path.parent)


def _sync(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())


def _sync_directory(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
