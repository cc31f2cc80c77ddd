"""What lies under a prefix of a bucket: whole objects by their keys, and the parts of uploads that never ended."""

from collections.abc import AsyncIterator
from typing import Any

from botocore.exceptions import ClientError  # type: ignore[import-untyped, unused-ignore]  # ships no types

from shared.storage.s3_errors import as_store_errors

_NOT_SUPPORTED = frozenset({"NotImplemented", "MethodNotAllowed", "501", "405"})
_GONE = frozenset({"NoSuchUpload", "404"})


async def keys_under(client: Any, bucket: str, prefix: str, page_keys: int) -> AsyncIterator[str]:
    """Name the object under `prefix` and all objects under keys that begin with `prefix/`, a page at a time.

    S3 compares letters, so that `a` is a prefix of `ab`, too, which is not meant: that is another object's key.
    """
    page: dict[str, Any] = {"IsTruncated": True}
    while page["IsTruncated"]:
        after = {"ContinuationToken": page["NextContinuationToken"]} if "NextContinuationToken" in page else {}
        with as_store_errors("list", prefix):
            page = await client.list_objects_v2(Bucket=bucket, Prefix=prefix, MaxKeys=page_keys, **after)
        for entry in page.get("Contents", ()):
            if _is_under(entry["Key"], prefix):
                yield entry["Key"]


async def abort_uploads_under(client: Any, bucket: str, prefix: str) -> None:
    """Abort every multipart upload to a key under `prefix`. A server that cannot list them is left to its own rules."""
    for upload in await _uploads_under(client, bucket, prefix):
        with as_store_errors("abort", upload["Key"]):
            try:
                await client.abort_multipart_upload(Bucket=bucket, Key=upload["Key"], UploadId=upload["UploadId"])
            except ClientError as error:
                if _code(error) not in _GONE:
                    raise


async def _uploads_under(client: Any, bucket: str, prefix: str) -> list[dict[str, Any]]:
    uploads: list[dict[str, Any]] = []
    page: dict[str, Any] = {"IsTruncated": True}
    with as_store_errors("list uploads", prefix):
        while page["IsTruncated"]:
            after = {
                marker: page[f"Next{marker}"] for marker in ("KeyMarker", "UploadIdMarker") if page.get(f"Next{marker}")
            }
            try:
                page = await client.list_multipart_uploads(Bucket=bucket, Prefix=prefix, **after)
            except ClientError as error:
                if _code(error) in _NOT_SUPPORTED:
                    return []
                raise
            uploads += [upload for upload in page.get("Uploads", ()) if _is_under(upload["Key"], prefix)]
    return uploads


def _is_under(key: str, prefix: str) -> bool:
    return key == prefix or key.startswith(f"{prefix}/")


def _code(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))
