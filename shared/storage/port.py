"""The object store as the services see it; `s3.py` and `local.py` behave the same and pass one suite."""

import datetime as dt
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Protocol

import msgspec


class ObjectInfo(msgspec.Struct, frozen=True):
    """What the store knows of an object without reading it. `size_bytes` is its length in bytes."""

    size_bytes: int
    content_type: str


class SignedPut(msgspec.Struct, frozen=True):
    """What a client needs to upload straight into the store: PUT exactly the bytes to `url` with these `headers`.

    Content-Length is signed too but is not among the headers: clients send it, and a browser lets nobody set it.
    """

    url: str
    headers: dict[str, str]


class ObjectStoreError(Exception):
    """The store could not be reached or refused for a reason that may pass; trying again may help."""


class ObjectMissingError(Exception):
    """There is no object under that key; trying again does not help."""

    def __init__(self, key: str) -> None:
        super().__init__(f"no object under {key!r}")
        self.key = key


class ObjectStore(Protocol):
    """Whole objects under keys such as `originals/…`. Writing a key again replaces the object, in one step.

    Every method raises ObjectStoreError where the store cannot be reached, and ValueError for a key, content type or
    lifetime that `rules.py` does not accept.
    """

    async def put(self, key: str, data: bytes, content_type: str) -> None:
        """Write `data` under `key`; readers see the old object or the new one, never a part."""
        ...

    async def put_file(self, key: str, path: Path, content_type: str) -> None:
        """Write a file's bytes under `key` without holding them in memory (multipart where large)."""
        ...

    async def get(self, key: str) -> bytes:
        """Read the whole object. Raises ObjectMissingError."""
        ...

    async def head(self, key: str) -> ObjectInfo | None:
        """Return what lies under `key`, or None where nothing does."""
        ...

    async def copy(self, source: str, target: str) -> None:
        """Copy an object of up to 5 GB within the store, bytes and content type. Raises ObjectMissingError."""
        ...

    async def delete(self, key: str) -> None:
        """Remove the object; nothing happens where there is none."""
        ...

    def list_keys(self, prefix: str) -> AsyncIterator[str]:
        """Name the object under `prefix` and all objects under keys that begin with `prefix/`, in any order.

        Objects may be removed on the way. What is written on the way may be missing.
        """
        ...

    async def discard_unfinished(self, prefix: str) -> None:
        """Remove what writes to these same keys left behind that never ended. A write under way fails."""
        ...

    async def signed_url(self, key: str, *, expires: dt.timedelta, download_as: str | None = None) -> str:
        """Return a URL that reads the object until it expires; `download_as` names the file for a browser's save."""
        ...

    async def signed_put(self, key: str, *, content_type: str, size_bytes: int, expires: dt.timedelta) -> SignedPut:
        """Allow one object of this type and exactly this size to be written from outside, until it expires.

        Until then it may be used again: whoever relies on the bytes copies them first, or compares their digest.
        """
        ...

    async def ping(self) -> None:
        """Return where the store answers and the bucket or directory is there and ours to use."""
        ...

    async def close(self) -> None:
        """Let go of connections."""
        ...
