"""The Content-Disposition header that makes a browser save a picture under a name."""

from urllib.parse import quote

_MAX_CHARACTERS = 150


def content_disposition(download_as: str) -> str:
    """Return the header's value; the name may hold anything, what would break out of the header or of a folder goes."""
    name = "".join(c for c in download_as if c.isprintable() and c not in '"/\\')[:_MAX_CHARACTERS] or "download"
    plain = name.encode("ascii", "replace").decode().replace("?", "_")
    # Old browsers read the plain name, the others the one with its accents (RFC 6266).
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='', errors='replace')}"
