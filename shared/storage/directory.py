"""Objects as files, for the local store: bytes in, durable and whole or not at all, whoever dies in between.

    root/.blobs/<owner>-<random>.<content type>   the bytes, never changed once they have this name
    root/originals/4f…                            a symbolic link to the object's present bytes

The link is what makes an object: replacing it swaps bytes and content type in one step. `<owner>` is a digest of the
key's first two segments, by which the bytes are found that a killed writer left without a link. All of this blocks.
"""

import contextlib
import errno
import fcntl
import hashlib
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
_OWNER_SEGMENTS = 2


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
            replaced = self._swing_link(self._root / key, self._write_blob(key, source, content_type))
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
        """Return what an opened object is."""
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
                self._remove_empty_folders(link.parent)
            blob.unlink(missing_ok=True)

    def list_keys(self, prefix: str) -> list[str]:
        """Name the object under `prefix` and all objects under keys that begin with `prefix/`."""
        top = self._root / prefix
        with _as_store_errors("list", prefix):
            self._prepare()
            if not self._blobs.is_dir():
                raise FileNotFoundError(errno.ENOENT, "the store's directory is gone")
            if top.is_symlink():
                return [prefix]
            return [
                (Path(folder) / name).relative_to(self._root).as_posix()
                for folder, _, names in os.walk(top)
                for name in names
            ]

    def discard_unfinished(self, prefix: str) -> None:
        """Remove bytes that no link leads to and that belong to keys of the same first two segments as `prefix`.

        Raises ObjectStoreError for a prefix of one segment: whose bytes they are is known by two.
        """
        with _as_store_errors("discard", prefix):
            if prefix.count("/") + 1 < _OWNER_SEGMENTS:
                raise OSError(errno.EINVAL, "a prefix of two segments is needed")
            owner = "/".join(prefix.split("/")[:_OWNER_SEGMENTS])
            self._prepare()
            # A writer links its bytes under the lock; one that comes after us finds them gone, and fails.
            with self._lock():
                linked = {_target(self._root / key) for key in self.list_keys(owner)}
                for left in self._blobs.glob(f"{_owner(owner)}-*"):
                    if left not in linked:
                        left.unlink(missing_ok=True)

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

    def _write_blob(self, key: str, source: BinaryIO, content_type: str) -> Path:
        blob = self._blobs / f"{_owner(key)}-{secrets.token_hex(16)}.{quote(content_type, safe='')}"
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
            draft.symlink_to(os.path.relpath(blob, link.parent))
            # Two writers that both found the same old bytes would leave the loser's bytes behind for good. The folder
            # is made under the lock too: whoever deletes its last object removes it.
            with self._lock():
                blob.stat()
                _make_directories(link.parent)
                replaced = _target(link)
                draft.replace(link)
        except OSError:
            draft.unlink(missing_ok=True)
            blob.unlink(missing_ok=True)
            raise
        # Before the old bytes go: after a power cut the link must not lead to them again.
        _sync_directory(link.parent)
        return replaced

    def _remove_empty_folders(self, folder: Path) -> None:
        """Remove a folder that its last object left, and those above it that are empty then. Call under the lock."""
        with contextlib.suppress(OSError):
            while folder != self._root:
                folder.rmdir()
                folder = folder.parent

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
    # Without its dots: the folder that they lead out of may go with its last object.
    return Path(os.path.normpath(link.parent / link.readlink())) if link.is_symlink() else None


def _owner(key: str) -> str:
    """Return what the names of a key's bytes begin with, the same for all keys that share their first two segments."""
    return hashlib.sha256("/".join(key.split("/")[:_OWNER_SEGMENTS]).encode()).hexdigest()[:32]


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
