"""Who may see an upload: whoever holds its session token. The order of the checks is part of the interface."""

from uuid import UUID

from services.gateway.http.deadlines import READ_DEADLINE, with_deadline
from services.gateway.http.sessions import check_token
from shared.read_model.queries import UploadQueries, UploadRow
from shared.upload.errors import UploadNotFoundError


async def own_upload(reads: UploadQueries, upload_id: UUID, token: str, *, wait: float = READ_DEADLINE) -> UploadRow:
    """Return the row of an upload to its owner. Raises UploadNotFoundError, then InvalidSessionTokenError."""
    row = await with_deadline(lambda: reads.get(upload_id), wait)
    if row is None or row.erased:
        raise UploadNotFoundError(upload_id)
    check_token(token, row.session_token_digest)
    return row


def as_upload_id(text: str) -> UUID:
    """Read an id from a path; what is no UUID is no upload either. Raises UploadNotFoundError."""
    try:
        return UUID(text)
    except ValueError:
        raise UploadNotFoundError(UUID(int=0)) from None
