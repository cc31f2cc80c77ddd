"""POST /api/uploads/presign and …/complete: for photos that should not pass through the gateway."""

from typing import Any

import uuid_utils.compat
from litestar import Request, post

from contracts.http import IMAGE_TYPES, MAX_IMAGE_BYTES, PresignRequest, UploadCompleted, UploadPresigned
from services.gateway.http.bodies import json_only, read_json
from services.gateway.http.checks import checks
from services.gateway.http.ownership import as_upload_id
from services.gateway.http.rate_limits import complete_rate, upload_rate
from services.gateway.http.sessions import SessionToken, digest, new_token, token_present
from services.gateway.openapi.document import OWNER, described, json_body
from services.gateway.openapi.examples import COMPLETED, PRESIGN, PRESIGNED
from services.gateway.openapi.parameters import UploadId
from services.gateway.openapi.problem_responses import problems
from services.gateway.uploads.dependencies import Direct
from services.gateway.uploads.direct_uploads import LIFETIME
from services.gateway.uploads.registration import as_email
from shared.clock import utc_now
from shared.eventstore.pending_uploads import PendingUpload
from shared.imaging import ImageRefused, Refusal


@post(
    "/api/uploads/presign",
    operation_id="presignUpload",
    summary="Announce a photo that goes straight to the object store",
    description=(
        "Gives a URL to PUT the photo to, with the `headers` given and exactly the announced number of bytes."
        " Complete the upload afterwards."
    ),
    tags=["Uploads"],
    status_code=201,
    response_description="The photo may be sent to `url` until `expiresAt`.",
    before_request=checks(upload_rate, json_only),
    operation_class=described(PRESIGNED, body=json_body(PRESIGN)),
    responses=problems(
        "INVALID_REQUEST",
        "REQUEST_TIMEOUT",
        "IMAGE_TOO_LARGE",
        "REQUEST_TOO_LARGE",
        "UNSUPPORTED_IMAGE",
        "UNSUPPORTED_MEDIA_TYPE",
        "RATE_LIMITED",
        "UNAVAILABLE",
    ),
)
async def presign_upload(request: Request[Any, Any, Any], direct: Direct) -> UploadPresigned:
    """Announce an upload and return its session token, this once."""
    data = await read_json(request, PresignRequest)
    if data.content_type not in IMAGE_TYPES:
        raise ImageRefused(Refusal.UNSUPPORTED_IMAGE, f"Photos are accepted as {', '.join(IMAGE_TYPES)}.")
    if data.size_bytes > MAX_IMAGE_BYTES:
        raise ImageRefused(Refusal.IMAGE_TOO_LARGE, "The file is larger than 50 MB.")
    token = new_token()
    announced = PendingUpload(
        id=uuid_utils.compat.uuid7(),
        email=as_email(data.email),
        session_token_digest=digest(token),
        content_type=data.content_type,
        size_bytes=int(data.size_bytes),
        expires_at=utc_now() + LIFETIME,
    )
    allowed = await direct.announce(announced)
    return UploadPresigned(
        upload_id=announced.id,
        session_token=token,
        url=allowed.url,
        headers=allowed.headers,
        expires_at=announced.expires_at,
    )


@post(
    "/api/uploads/{uploadId:str}/complete",
    operation_id="completeUpload",
    summary="Register a photo that was sent to the object store",
    description=(
        "Looks at what was sent and registers it. May be repeated: the answer is the same. A photo that was refused is"
        " removed, and stays refused: announce another."
    ),
    tags=["Uploads"],
    status_code=200,
    response_description="The photo is registered and can be processed.",
    before_request=checks(token_present, complete_rate),
    operation_class=described(COMPLETED),
    security=OWNER,
    responses=problems(
        "IMAGE_TOO_SMALL",
        "IMAGE_CORRUPT",
        "INVALID_SESSION_TOKEN",
        "UPLOAD_NOT_FOUND",
        "UPLOAD_INCOMPLETE",
        "BEING_COMPLETED",
        "IMAGE_TOO_LARGE",
        "UNSUPPORTED_IMAGE",
        "RATE_LIMITED",
        "UNAVAILABLE",
    ),
)
async def complete_upload(upload_id: UploadId, session_token: SessionToken, direct: Direct) -> UploadCompleted:
    """Register an announced upload, once."""
    wanted = as_upload_id(upload_id)
    return UploadCompleted(upload_id=wanted, status=await direct.complete(wanted, session_token))
