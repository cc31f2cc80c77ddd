"""Who may see an upload: whoever holds its session token. The order of the checks is part of the interface."""

from uuid import UUID

from services.gateway.sessions import check_token
from shared.projection.queries import UploadQueries, UploadRow
from shared.upload.errors import UploadNotFoundError


async def own_upload(reads: UploadQueries, upload_id: UUID, token: str) -> UploadRow:
    """Give the row of an upload to its owner. Raises UploadNotFoundError, then InvalidSessionTokenError."""
    row = await reads.get(upload_id)
    if row is None:
        raise UploadNotFoundError(upload_id)
    check_token(token, row.session_token_digest)
    return row


def as_upload_id(text: str) -> UUID:
    """Read an id from a path; what is no UUID is no upload either. Raises UploadNotFoundError."""
    try:
        return UUID(text)
    except ValueError:
        raise UploadNotFoundError(UUID(int=0)) from None
