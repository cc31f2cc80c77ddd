"""What botocore raises, in the port's own words: named, short, and without what a request or its answer carried."""

import contextlib
from collections.abc import Iterator
from typing import Any

from aiohttp import ClientError as HttpError
from botocore.exceptions import (  # type: ignore[import-untyped, unused-ignore]  # ships no types
    BotoCoreError,
    ClientError,
)

from shared.storage.port import ObjectMissingError, ObjectStoreError

_MISSING_CODES = frozenset({"NoSuchKey", "NotFound", "404"})
_REFUSED_STATUSES = frozenset({401, 403})


@contextlib.contextmanager
def as_store_errors(doing: str, key: str) -> Iterator[None]:
    """Raise ObjectMissingError where the object is not there, and ObjectStoreError for whatever else went wrong."""
    try:
        yield
    except ClientError as error:
        if _code(error.response) in _MISSING_CODES:
            raise ObjectMissingError(key) from None
        msg = f"{doing} {key!r}: {_answer(error.response)}"
        raise ObjectStoreError(msg) from error
    # aiohttp's own errors and bare OSErrors come through while a body is being read.
    except (BotoCoreError, HttpError, OSError) as error:
        msg = f"{doing} {key!r}: {type(error).__name__}"
        raise ObjectStoreError(msg) from error


def _code(response: dict[str, Any]) -> str:
    return str(response.get("Error", {}).get("Code", "unknown"))


def _answer(response: dict[str, Any]) -> str:
    status = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    text = f"ClientError ({_code(response)}, HTTP {status})"
    if status in _REFUSED_STATUSES:
        # Also what a bucket answers for a missing key to someone who may not list it.
        return f"{text}; the store refuses our credentials, or they lack a right to the bucket"
    return text
