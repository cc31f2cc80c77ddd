"""What a page may load and whom it may speak to: its Content-Security-Policy. The edge adds what all answers have."""

import datetime as dt
from collections.abc import Iterable
from urllib.parse import urlsplit
from uuid import UUID

from shared.settings import Analytics
from shared.storage.keys import original_key
from shared.storage.port import ObjectStore

WITHOUT_SCRIPTS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; img-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
}
"""Headers of a page that only says something."""

_NO_UPLOAD = UUID(int=0)


async def page_headers(objects: ObjectStore, analytics: Analytics) -> dict[str, str]:
    """Return a page's security headers. PostHog is allowed only where it has a key."""
    # Pictures come straight from the object store, wherever it signs its URLs for.
    store = await objects.signed_url(original_key(_NO_UPLOAD), expires=dt.timedelta(minutes=1))
    pictures = origin(store)
    spoken_to = [pictures, *([origin(analytics.posthog_host)] if analytics.posthog_api_key else [])]
    return {
        "Content-Security-Policy": _policy([pictures], spoken_to),
        "Cross-Origin-Opener-Policy": "same-origin",
    }


def origin(url: str) -> str:
    """Return scheme, host and port of a URL, and nothing that could end or widen a directive."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}".translate({ord(c): None for c in " ;,\t\r\n'\""})


def _policy(pictures: Iterable[str], spoken_to: Iterable[str]) -> str:
    directives = {
        "default-src": "'self'",
        # blob: is the photo that was just chosen, shown before it is uploaded.
        "img-src": f"'self' blob: {' '.join(pictures)}",
        "connect-src": f"'self' {' '.join(spoken_to)}",
        "object-src": "'none'",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
        "require-trusted-types-for": "'script'",
    }
    return "; ".join(f"{name} {sources}" for name, sources in directives.items())
