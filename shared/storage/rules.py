"""What every adapter accepts as key, content type and lifetime: what works in a directory works in a bucket."""

import datetime as dt
import re

MAX_KEY_CHARACTERS = 1024
MAX_LIFETIME = dt.timedelta(days=7)  # signature version 4 allows no more

# A segment may not begin with a dot: no `.`, no `..`, and dotted names are left to the local store itself.
_SEGMENT = r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,199}"
_KEY = re.compile(rf"{_SEGMENT}(?:/{_SEGMENT})*")
# Short enough for a file name, and without anything that could end a header line.
_CONTENT_TYPE = re.compile(r"(?=.{3,100}\Z)[A-Za-z0-9.+-]+/[A-Za-z0-9.+-]+(?:; ?[A-Za-z0-9-]+=[A-Za-z0-9.+-]+)?")


class InvalidKeyError(ValueError):
    """The text names no object: empty, too long, absolute, with an empty or dotted segment or an odd character."""

    def __init__(self, key: str) -> None:
        super().__init__(f"not an object key: {key[:100]!r}")


def check_key(key: str) -> str:
    """Return the key back. Raises InvalidKeyError."""
    if len(key) > MAX_KEY_CHARACTERS or not _KEY.fullmatch(key):
        raise InvalidKeyError(key)
    return key


def check_content_type(content_type: str) -> str:
    """Return the content type back. Raises ValueError where it is none such as `image/png`."""
    if not _CONTENT_TYPE.fullmatch(content_type):
        msg = f"not a content type: {content_type[:100]!r}"
        raise ValueError(msg)
    return content_type


def lifetime_seconds(expires: dt.timedelta) -> int:
    """Return a signed URL's lifetime in whole seconds. Raises ValueError outside one second to seven days."""
    seconds = int(expires.total_seconds())
    if not 1 <= seconds <= MAX_LIFETIME.total_seconds():
        msg = f"a signed URL lives from one second to seven days, not {expires}"
        raise ValueError(msg)
    return seconds
