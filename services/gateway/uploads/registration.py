"""What begins an upload's stream, whichever way its photo came."""

from uuid import UUID

import msgspec

from contracts.events import UploadRegistered
from contracts.http import Email
from services.gateway.http.problems import InvalidRequestError
from shared.clock import utc_now
from shared.imaging import ImageHeader

STORE_WAIT = 5.0
"""Seconds that an upload waits for the database before it is refused."""


def registered(
    upload_id: UUID, key: str, header: ImageHeader, *, email: str, token_digest: str, size_bytes: int
) -> UploadRegistered:
    """Return the event that begins an upload's stream."""
    return UploadRegistered(
        upload_id=upload_id,
        version=1,
        occurred_at=utc_now(),
        email=email,
        session_token_digest=token_digest,
        original_key=key,
        content_type=header.content_type,
        size_bytes=size_bytes,
        width=header.width,
        height=header.height,
    )


def as_email(given: str | None) -> str:
    """Read an e-mail address. Raises InvalidRequestError."""
    try:
        return msgspec.convert((given or "").strip(), Email)
    except msgspec.ValidationError as error:
        raise InvalidRequestError("The form needs `email`, an e-mail address.") from error
