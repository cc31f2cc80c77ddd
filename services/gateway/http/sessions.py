"""Session tokens: shown once, kept as a SHA-256 digest, compared in constant time, never logged."""

import hashlib
import hmac
import secrets
from typing import Annotated

from litestar.params import HeaderParameter

from services.gateway.http.checks import AnyRequest
from services.gateway.http.problems import InvalidSessionTokenError

HEADER = "X-Session-Token"

# The document of the interface names the header as a security scheme, not as a parameter.
SessionToken = Annotated[str, HeaderParameter(name=HEADER, include_in_schema=False)]


def new_token() -> str:
    """Draw a token of 256 random bits, fit for a header."""
    return secrets.token_urlsafe(32)


def digest(token: str) -> str:
    """Return what is stored of a token: 64 hexadecimal digits."""
    return hashlib.sha256(token.encode(errors="replace")).hexdigest()


def check_token(token: str, stored_digest: str) -> None:
    """Raise InvalidSessionTokenError unless the token is the one whose digest is stored."""
    if not hmac.compare_digest(digest(token), stored_digest):
        raise InvalidSessionTokenError


async def token_present(request: AnyRequest) -> None:
    """Refuse a request without a token, before anything else is looked at."""
    if not request.headers.get(HEADER):
        raise InvalidSessionTokenError
