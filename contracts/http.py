"""Bodies of the HTTP interface: JSON, camelCase. Instants are RFC 3339 UTC, sizes are pixels."""

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

import msgspec

from contracts.events import Stage, Status

# Spelt out, because `\s` is not the same set in Python and in the JavaScript that JSON Schema goes by. Besides spaces
# and controls, what turns or hides text is left out.
_VISIBLE = r"[^@\u0000-\u0020\u007f-\u00a0\u1680\u2000-\u200f\u2028-\u202f\u205f-\u206f\u3000\ufeff]"
Email = Annotated[str, msgspec.Meta(pattern=f"^{_VISIBLE}{{1,64}}@{_VISIBLE}{{1,250}}$", max_length=254)]
IMAGE_TYPES = ("image/jpeg", "image/png", "image/webp", "image/avif")
MAX_IMAGE_BYTES = 50 * 1024 * 1024
"""Largest file; a photo of 50 megapixels fits."""


class _Body(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A JSON object with camelCase names."""


class _Request(_Body, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A body that a client sends; a member that is not known is refused rather than ignored."""


class UploadCreated(_Body, frozen=True, kw_only=True):
    """201 of `POST /api/uploads`. The session token is shown here and never again."""

    upload_id: UUID
    session_token: str
    status: Literal["pending"] = "pending"
    success: Literal[True] = True


class PresignRequest(_Request, frozen=True, kw_only=True):
    """Body of `POST /api/uploads/presign`: what will be sent straight to the object store, exactly."""

    email: Email
    content_type: Annotated[str, msgspec.Meta(extra_json_schema={"enum": list(IMAGE_TYPES)})]
    # JSON has one kind of number: 5.0 is a whole one, to its schemas as well as here.
    size_bytes: Annotated[float, msgspec.Meta(ge=1, multiple_of=1, extra_json_schema={"maximum": MAX_IMAGE_BYTES})]


class UploadPresigned(_Body, frozen=True, kw_only=True):
    """201 of `POST /api/uploads/presign`: PUT the photo to `url` with `headers` by `expires_at`, then complete it."""

    upload_id: UUID
    session_token: str
    url: str
    headers: dict[str, str]
    expires_at: datetime
    method: Literal["PUT"] = "PUT"
    success: Literal[True] = True


class UploadCompleted(_Body, frozen=True, kw_only=True):
    """200 of `POST /api/uploads/{uploadId}/complete`, and of every repetition. Now it can be processed."""

    upload_id: UUID
    status: Status
    success: Literal[True] = True


class ProcessRequest(_Request, frozen=True, kw_only=True):
    """Body of `POST /api/process`."""

    upload_id: UUID


class ProcessAccepted(_Body, frozen=True, kw_only=True):
    """202 of `POST /api/process` and of its retry. `job_id` is the upload's id."""

    job_id: UUID
    workflow_run_id: UUID
    status: Literal["processing"] = "processing"
    success: Literal[True] = True


class RunError(_Body, frozen=True, kw_only=True):
    """Why a run failed: a stable code, a sentence for a person, and whether trying again may help."""

    code: str
    message: str
    retryable: bool


class JobStatus(_Body, frozen=True, kw_only=True):
    """200 of `GET /api/status/{jobId}`. `progress` is 0 to 100 and never goes back within a run."""

    job_id: UUID
    status: Status
    stage: Stage | None
    progress: Annotated[int, msgspec.Meta(ge=0, le=100)]
    workflow_run_id: UUID | None
    attempt: int
    result_id: UUID | None
    preview_url: str | None
    error: RunError | None
    updated_at: datetime


class Result(_Body, frozen=True, kw_only=True):
    """200 of `GET /api/results/{resultId}`. `preview_url` is signed and short-lived; sizes are the preview's."""

    result_id: UUID
    job_id: UUID
    preview_url: str
    width: int
    height: int
    content_type: str


class Problem(_Body, frozen=True, kw_only=True):
    """Any error, as RFC 9457 `application/problem+json`; `code` is stable, `detail` is for a person."""

    title: str
    status: int
    code: str
    request_id: str
    detail: str
    current_status: Status | msgspec.UnsetType = msgspec.UNSET
    workflow_run_id: UUID | msgspec.UnsetType = msgspec.UNSET
    type: str = "about:blank"
    success: Literal[False] = False
