"""Signed URLs of the local store: HMAC-SHA256 over all that the URL allows, as S3's signature does for a bucket."""

import datetime as dt
import hashlib
import hmac
import time
from collections.abc import Mapping
from urllib.parse import quote, urlencode

from shared.storage.rules import check_key, lifetime_seconds


class BadSignatureError(Exception):
    """The URL was not signed by us, or not for this method, key, name, content type or size."""


class ExpiredSignatureError(BadSignatureError):
    """The URL was ours, and its time is over."""


class UrlSigner:
    """Signs and checks `{base_url}/objects/{key}?expires=…&signature=…`. Whoever has the secret can read everything."""

    def __init__(self, secret: bytes, base_url: str) -> None:
        self._secret = secret
        self._base_url = base_url.rstrip("/")

    def sign_get(self, key: str, expires: dt.timedelta, download_as: str | None) -> str:
        """Return a URL that reads one object."""
        query = {} if download_as is None else {"download_as": download_as}
        return self._url(key, expires, ("GET", download_as or ""), query)

    def sign_put(self, key: str, expires: dt.timedelta, content_type: str, size_bytes: int) -> str:
        """Return a URL that writes one object of exactly this type and size."""
        return self._url(key, expires, ("PUT", content_type, str(size_bytes)), {})

    def verify_get(self, key: str, query: Mapping[str, str]) -> str | None:
        """Return the name to save the object under, or None. Raises BadSignatureError, or its ExpiredSignatureError."""
        download_as = query.get("download_as")
        self._verify(key, query, ("GET", download_as or ""))
        return download_as or None

    def verify_put(self, key: str, query: Mapping[str, str], content_type: str, size_bytes: int) -> None:
        """Check a write with the type and size that its request's headers name. Raises as `verify_get` does."""
        self._verify(key, query, ("PUT", content_type, str(size_bytes)))

    def _url(self, key: str, expires: dt.timedelta, allowed: tuple[str, ...], query: dict[str, str]) -> str:
        until = str(int(time.time()) + lifetime_seconds(expires))
        query = {"expires": until, "signature": self._signature(check_key(key), until, allowed), **query}
        return f"{self._base_url}/objects/{quote(key)}?{urlencode(query, errors='replace')}"

    def _verify(self, key: str, query: Mapping[str, str], allowed: tuple[str, ...]) -> None:
        until, signature = query.get("expires", ""), query.get("signature", "")
        expected = self._signature(key, until, allowed)
        # Bytes, since compare_digest refuses text beyond ASCII, and a stranger chooses that text.
        if not hmac.compare_digest(expected.encode(), signature.encode(errors="replace")):
            msg = "the URL's signature does not fit"
            raise BadSignatureError(msg)
        # Only now: what `expires` says is believed where we wrote it.
        if time.time() >= int(until):
            msg = "the URL has expired"
            raise ExpiredSignatureError(msg)

    def _signature(self, key: str, until: str, allowed: tuple[str, ...]) -> str:
        # Each part is quoted, so that no part can run over into the next.
        text = "\n".join(quote(part, safe="", errors="replace") for part in (key, until, *allowed))
        return hmac.new(self._secret, text.encode(), hashlib.sha256).hexdigest()
