"""The object store in an S3 bucket: R2, AWS, SeaweedFS or whatever speaks S3.

Importing this module loads boto, tens of megabytes; `open.py` does it only for `s3://`.
"""

import asyncio
import contextlib
import datetime as dt
import io
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, BinaryIO

import aioboto3  # type: ignore[import-untyped, unused-ignore]  # ships no types
import msgspec
from aiobotocore.config import AioConfig  # type: ignore[import-untyped, unused-ignore]

from shared.storage.disposition import content_disposition
from shared.storage.port import ObjectInfo, ObjectMissingError, ObjectStoreError, SignedPut
from shared.storage.rules import check_content_type, check_key, lifetime_seconds
from shared.storage.s3_errors import as_store_errors
from shared.storage.s3_listing import abort_uploads_under, keys_under

_PART_BYTES = 8 * 1024 * 1024  # S3 takes no part under 5 MiB (but the last), and R2 only parts of one size
_ABORT_SECONDS = 10.0
_PAGE_KEYS = 1000  # the most that S3 names in one answer

_Client = Any  # boto makes its clients at run time, so that nothing can be said of their type


class S3Access(msgspec.Struct, frozen=True, kw_only=True):
    """How to reach the store. Without keys, boto looks for credentials of the machine's own.

    `public_endpoint_url` goes into signed URLs, where a browser reaches the store under another name than we do.
    """

    endpoint_url: str | None = None
    region: str | None = None
    access_key_id: str | None = None
    secret_access_key: str | None = None
    public_endpoint_url: str | None = None

    def __repr__(self) -> str:
        """Leave the keys out: this ends in logs and tracebacks."""
        return f"S3Access(endpoint_url={self.endpoint_url!r}, region={self.region!r})"


class S3ObjectStore:
    """An ObjectStore in one bucket, through one client that lives until `close`.

    Objects of `part_bytes` and more go up in parts. A process killed on the way leaves parts that no reader sees;
    `discard_unfinished` removes them, or the bucket's life-cycle rule (R2 has one by itself).
    """

    def __init__(
        self,
        bucket: str,
        access: S3Access,
        *,
        part_bytes: int = _PART_BYTES,
        page_keys: int = _PAGE_KEYS,
        read_timeout: float = 30.0,
    ) -> None:
        self._bucket = bucket
        self._access = access
        self._part_bytes = part_bytes
        self._page_keys = page_keys
        self._read_timeout = read_timeout
        self._session = aioboto3.Session(
            aws_access_key_id=access.access_key_id, aws_secret_access_key=access.secret_access_key
        )
        self._clients = contextlib.AsyncExitStack()
        self._opened: dict[str | None, _Client] = {}
        self._opening = asyncio.Lock()

    async def put(self, key: str, data: bytes, content_type: str) -> None:
        """Write `data` under `key`."""
        await self._write(key, io.BytesIO(data), content_type)

    async def put_file(self, key: str, path: Path, content_type: str) -> None:
        """Write a file's bytes under `key`, holding one part of it at a time."""
        with await asyncio.to_thread(path.open, "rb") as source:
            await self._write(key, source, content_type)

    async def get(self, key: str) -> bytes:
        """Read the whole object. Raises ObjectMissingError."""
        with as_store_errors("get", check_key(key)):
            client = await self._client()
            answer = await client.get_object(Bucket=self._bucket, Key=key)
            async with answer["Body"] as body:
                return bytes(await body.read())

    async def head(self, key: str) -> ObjectInfo | None:
        """Return what lies under `key`, or None."""
        try:
            with as_store_errors("head", check_key(key)):
                client = await self._client()
                answer = await client.head_object(Bucket=self._bucket, Key=key)
        except ObjectMissingError:
            return None
        return ObjectInfo(size_bytes=answer["ContentLength"], content_type=answer["ContentType"])

    async def copy(self, source: str, target: str) -> None:
        """Copy within the bucket, up to the 5 GB that S3 copies in one request. Raises ObjectMissingError."""
        if source == target:
            # S3 refuses to copy an object onto itself.
            if await self.head(source) is None:
                raise ObjectMissingError(source)
            return
        with as_store_errors("copy", check_key(source)):
            client = await self._client()
            origin = {"Bucket": self._bucket, "Key": source}
            await client.copy_object(Bucket=self._bucket, Key=check_key(target), CopySource=origin)

    async def delete(self, key: str) -> None:
        """Remove the object, if there is one."""
        with contextlib.suppress(ObjectMissingError), as_store_errors("delete", check_key(key)):
            client = await self._client()
            await client.delete_object(Bucket=self._bucket, Key=key)

    async def list_keys(self, prefix: str) -> AsyncIterator[str]:
        """Name the object under `prefix` and all objects under keys that begin with `prefix/`."""
        check_key(prefix)
        with as_store_errors("list", prefix):
            client = await self._client()
        async for key in keys_under(client, self._bucket, prefix, self._page_keys):
            yield key

    async def discard_unfinished(self, prefix: str) -> None:
        """Remove the parts that multipart uploads left which never ended."""
        with as_store_errors("discard", check_key(prefix)):
            client = await self._client()
        await abort_uploads_under(client, self._bucket, prefix)

    async def signed_url(self, key: str, *, expires: dt.timedelta, download_as: str | None = None) -> str:
        """Return a URL that the store itself answers."""
        params = {"Bucket": self._bucket, "Key": check_key(key)}
        if download_as:
            params["ResponseContentDisposition"] = content_disposition(download_as)
        return await self._sign("get_object", params, expires)

    async def signed_put(self, key: str, *, content_type: str, size_bytes: int, expires: dt.timedelta) -> SignedPut:
        """Allow one write, which the store itself takes; the bucket needs a CORS rule where browsers shall write."""
        check_content_type(content_type)
        params = {
            "Bucket": self._bucket,
            "Key": check_key(key),
            "ContentType": content_type,
            "ContentLength": size_bytes,
        }
        return SignedPut(url=await self._sign("put_object", params, expires), headers={"Content-Type": content_type})

    async def ping(self) -> None:
        """Return where the bucket is there and ours."""
        try:
            with as_store_errors("ping", self._bucket):
                client = await self._client()
                await client.head_bucket(Bucket=self._bucket)
        except ObjectMissingError:
            msg = f"ping: there is no bucket {self._bucket!r}"
            raise ObjectStoreError(msg) from None

    async def close(self) -> None:
        """Let go of connections; a later call opens new ones."""
        self._opened.clear()
        await self._clients.aclose()

    async def _write(self, key: str, source: BinaryIO, content_type: str) -> None:
        check_key(key)
        check_content_type(content_type)
        first = await self._next_part(source)
        if len(first) == self._part_bytes:
            await self._write_parts(key, first, source, content_type)
            return
        with as_store_errors("put", key):
            client = await self._client()
            await client.put_object(Bucket=self._bucket, Key=key, Body=first, ContentType=content_type)

    async def _write_parts(self, key: str, part: bytes, source: BinaryIO, content_type: str) -> None:
        with as_store_errors("put", key):
            client = await self._client()
            begun = await client.create_multipart_upload(Bucket=self._bucket, Key=key, ContentType=content_type)
        upload = {"Bucket": self._bucket, "Key": key, "UploadId": begun["UploadId"]}
        parts: list[dict[str, Any]] = []
        try:
            # One after the other: memory holds one part, and the pool's other connections stay free for others.
            while part:
                number = len(parts) + 1
                with as_store_errors("put", key):
                    answer = await client.upload_part(**upload, PartNumber=number, Body=part)
                parts.append({"PartNumber": number, "ETag": answer["ETag"]})
                part = await self._next_part(source)
            with as_store_errors("put", key):
                await client.complete_multipart_upload(**upload, MultipartUpload={"Parts": parts})
        except BaseException:
            await _abort(client, upload)
            raise

    async def _next_part(self, source: BinaryIO) -> bytes:
        return await asyncio.to_thread(source.read, self._part_bytes)

    async def _sign(self, method: str, params: dict[str, Any], expires: dt.timedelta) -> str:
        seconds = lifetime_seconds(expires)
        with as_store_errors("sign", params["Key"]):
            client = await self._client(self._access.public_endpoint_url)
            return str(await client.generate_presigned_url(method, Params=params, ExpiresIn=seconds))

    async def _client(self, public_endpoint_url: str | None = None) -> _Client:
        endpoint_url = public_endpoint_url or self._access.endpoint_url
        async with self._opening:
            if endpoint_url not in self._opened:
                client = self._session.client(
                    "s3", endpoint_url=endpoint_url, region_name=self._access.region, config=self._config()
                )
                self._opened[endpoint_url] = await self._clients.enter_async_context(client)
            return self._opened[endpoint_url]

    def _config(self) -> AioConfig:
        return AioConfig(
            signature_version="s3v4",
            s3={"addressing_style": "path" if self._access.endpoint_url else "auto"},
            # R2 and older servers refuse the checksums that boto adds unasked; the signature covers the bytes anyway.
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
            max_pool_connections=16,
            connect_timeout=3.0,
            read_timeout=self._read_timeout,
            # One retry for a connection that went stale; whatever lasts longer is the stage's own retry to decide.
            retries={"mode": "standard", "total_max_attempts": 2},
        )


async def _abort(client: _Client, upload: dict[str, str]) -> None:
    """Throw the parts away, also while we are being cancelled; what failed before matters more than this."""
    with contextlib.suppress(Exception):
        async with asyncio.timeout(_ABORT_SECONDS):
            await asyncio.shield(client.abort_multipart_upload(**upload))
