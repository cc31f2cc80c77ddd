"""OBJECT_STORE_URL in, the store it names out. The one place that knows both adapters."""

import re
from pathlib import Path
from typing import Protocol
from urllib.parse import SplitResult, unquote, urlsplit

from shared.storage.local import LocalObjectStore
from shared.storage.port import ObjectStore

_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_R2_REGION = "auto"


class StoreSettings(Protocol):
    """The settings that say where the objects lie, as `shared.settings.Objects` has them."""

    @property
    def object_store_url(self) -> str: ...
    @property
    def s3_endpoint_url(self) -> str: ...
    @property
    def s3_public_endpoint_url(self) -> str: ...
    @property
    def s3_region(self) -> str: ...
    @property
    def s3_access_key_id(self) -> str: ...
    @property
    def s3_secret_access_key(self) -> str: ...


def open_configured_store(settings: StoreSettings, *, public_base_url: str) -> ObjectStore:
    """Open the store that the settings name, with all that they say of it. Raises ValueError as `open_object_store`."""
    return open_object_store(
        settings.object_store_url,
        public_base_url=public_base_url,
        s3_endpoint_url=settings.s3_endpoint_url,
        s3_region=settings.s3_region,
        s3_access_key_id=settings.s3_access_key_id,
        s3_secret_access_key=settings.s3_secret_access_key,
        s3_public_endpoint_url=settings.s3_public_endpoint_url,
    )


def open_object_store(
    url: str,
    *,
    public_base_url: str,
    s3_endpoint_url: str | None = None,
    s3_region: str | None = None,
    s3_access_key_id: str | None = None,
    s3_secret_access_key: str | None = None,
    s3_public_endpoint_url: str | None = None,
) -> ObjectStore:
    """Return the store behind `s3://bucket` or `file:///dir`, without connecting to it.

    `public_base_url` is the gateway's, for the local store's signed URLs. `s3_public_endpoint_url` is the store's for a
    browser, where it differs from ours. Raises ValueError that names the setting and says what is wrong with it.
    """
    parts = _split("OBJECT_STORE_URL", url)
    if parts.scheme == "file":
        return LocalObjectStore(_directory(parts), _http_url("the public base URL", public_base_url))
    if parts.scheme != "s3":
        msg = "OBJECT_STORE_URL must be s3://bucket or file:///directory"
        raise ValueError(msg)
    if bool(s3_access_key_id) != bool(s3_secret_access_key):
        msg = "S3_ACCESS_KEY_ID and S3_SECRET_ACCESS_KEY go together; one of them is missing"
        raise ValueError(msg)
    if not s3_endpoint_url and not s3_region:
        msg = "S3_REGION is missing (needed where there is no S3_ENDPOINT_URL)"
        raise ValueError(msg)

    # Here, because it loads boto, which whoever uses the local store should not pay for.
    from shared.storage.s3 import S3Access, S3ObjectStore  # noqa: PLC0415

    access = S3Access(
        endpoint_url=_http_url("S3_ENDPOINT_URL", s3_endpoint_url) if s3_endpoint_url else None,
        region=s3_region or _R2_REGION,
        access_key_id=s3_access_key_id or None,
        secret_access_key=s3_secret_access_key or None,
        public_endpoint_url=(
            _http_url("S3_PUBLIC_ENDPOINT_URL", s3_public_endpoint_url) if s3_public_endpoint_url else None
        ),
    )
    return S3ObjectStore(_bucket(parts), access)


def _split(setting: str, url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
    except ValueError:
        msg = f"{setting} is not a URL"
        raise ValueError(msg) from None
    # Said without repeating the URL, which would put the password where this message goes.
    if "@" in parts.netloc or parts.query or parts.fragment:
        msg = f"{setting} must hold no user, password, query or fragment"
        raise ValueError(msg)
    return parts


def _directory(parts: SplitResult) -> Path:
    path = Path(unquote(parts.path))
    if parts.netloc not in {"", "localhost"} or not path.is_absolute() or path == Path("/"):
        msg = "OBJECT_STORE_URL must name a directory with three slashes, as in file:///var/lib/darkroom"
        raise ValueError(msg)
    return path


def _bucket(parts: SplitResult) -> str:
    if not _BUCKET.fullmatch(parts.netloc) or parts.path not in {"", "/"}:
        msg = "OBJECT_STORE_URL must name a bucket and nothing else, as in s3://darkroom"
        raise ValueError(msg)
    return parts.netloc


def _http_url(setting: str, url: str) -> str:
    parts = _split(setting, url)
    if parts.scheme not in {"http", "https"} or not parts.netloc:
        msg = f"{setting} must be an http:// or https:// URL"
        raise ValueError(msg)
    return url.rstrip("/")
