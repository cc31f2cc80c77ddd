"""The object store in a directory: for a laptop, for tests, for one machine. The gateway serves its signed URLs."""

import asyncio
import datetime as dt
import functools
import io
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

from shared.storage.directory import ObjectDirectory
from shared.storage.port import ObjectInfo, ObjectMissingError, SignedPut
from shared.storage.rules import check_content_type, check_key
from shared.storage.signing import UrlSigner

_SIGNING_KEY = ".signing-key"


class LocalObjectStore:
    """An ObjectStore under `root`, made at first use. `base_url` is where the gateway answers, as a browser reaches it.

    Unlike in a bucket, a key must not be the folder of another one (`a` and `a/b`); the keys of `keys.py` never are.
    """

    def __init__(self, root: Path, base_url: str) -> None:
        self._directory = ObjectDirectory(root)
        self._base_url = base_url

    async def put(self, key: str, data: bytes, content_type: str) -> None:
        """Write `data` under `key`."""
        check_key(key)
        check_content_type(content_type)
        await asyncio.to_thread(self._directory.write, key, io.BytesIO(data), content_type)

    async def put_file(self, key: str, path: Path, content_type: str) -> None:
        """Write a file's bytes under `key`."""
        check_key(key)
        check_content_type(content_type)
        await asyncio.to_thread(self._put_file, key, path, content_type)

    async def get(self, key: str) -> bytes:
        """Read the whole object. Raises ObjectMissingError."""
        return await asyncio.to_thread(self._get, check_key(key))

    async def head(self, key: str) -> ObjectInfo | None:
        """Return what lies under `key`, or None."""
        return await asyncio.to_thread(self._head, check_key(key))

    async def copy(self, source: str, target: str) -> None:
        """Copy bytes and content type. Raises ObjectMissingError."""
        await asyncio.to_thread(self._copy, check_key(source), check_key(target))

    async def delete(self, key: str) -> None:
        """Remove the object, if there is one."""
        await asyncio.to_thread(self._directory.delete, check_key(key))

    async def list_keys(self, prefix: str) -> AsyncIterator[str]:
        """Name the object under `prefix` and all objects under keys that begin with `prefix/`."""
        for key in await asyncio.to_thread(self._directory.list_keys, check_key(prefix)):
            yield key

    async def discard_unfinished(self, prefix: str) -> None:
        """Remove what writes that were killed left on the disk."""
        await asyncio.to_thread(self._directory.discard_unfinished, check_key(prefix))

    async def signed_url(self, key: str, *, expires: dt.timedelta, download_as: str | None = None) -> str:
        """Return a URL that the gateway answers after `verify_get`."""
        return self._signer.sign_get(key, expires, download_as)

    async def signed_put(self, key: str, *, content_type: str, size_bytes: int, expires: dt.timedelta) -> SignedPut:
        """Allow one write, which the gateway takes after `verify_put`."""
        url = self._signer.sign_put(key, expires, check_content_type(content_type), size_bytes)
        return SignedPut(url=url, headers={"Content-Type": content_type})

    async def ping(self) -> None:
        """Return where the directory can be written."""
        await asyncio.to_thread(self._directory.check)

    async def close(self) -> None:
        """Nothing is held open."""

    def verify_get(self, key: str, query: Mapping[str, str]) -> str | None:
        """Return the name to save the object under, or None, for `GET /objects/{key}` (and HEAD).

        Raises BadSignatureError, or its ExpiredSignatureError. `query` holds the request's query, decoded.
        """
        return self._signer.verify_get(key, query)

    def verify_put(self, key: str, query: Mapping[str, str], *, content_type: str, size_bytes: int) -> None:
        """Check `PUT /objects/{key}` against the request's Content-Type and Content-Length. Raises likewise."""
        self._signer.verify_put(key, query, content_type, size_bytes)

    def open_path(self, key: str) -> Path:
        """Return a file to stream the object from; it vanishes if the object is replaced before it is opened.

        Raises ObjectMissingError. Blocks only for two looks at the directory.
        """
        return self._directory.path(check_key(key))

    @functools.cached_property
    def _signer(self) -> UrlSigner:
        return UrlSigner(self._directory.secret(_SIGNING_KEY), self._base_url)

    def _put_file(self, key: str, path: Path, content_type: str) -> None:
        with path.open("rb") as source:
            self._directory.write(key, source, content_type)

    def _get(self, key: str) -> bytes:
        with self._directory.open(key) as blob:
            return blob.read()

    def _head(self, key: str) -> ObjectInfo | None:
        try:
            with self._directory.open(key) as blob:
                return self._directory.describe(blob)
        except ObjectMissingError:
            return None

    def _copy(self, source: str, target: str) -> None:
        with self._directory.open(source) as blob:
            self._directory.write(target, blob, self._directory.describe(blob).content_type)
