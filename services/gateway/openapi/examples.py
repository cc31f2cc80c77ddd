"""One of each answer, as the OpenAPI document shows them."""

import datetime as dt
from uuid import UUID

import msgspec

from contracts.events import Stage, Status
from contracts.http import (
    JobStatus,
    PresignRequest,
    ProcessAccepted,
    ProcessRequest,
    Result,
    UploadCompleted,
    UploadCreated,
    UploadPresigned,
)

UPLOAD_ID = UUID("0199b1c2-5a7e-7c31-9f04-2f5d1f6f7a10")
RUN_ID = UUID("0199b1c2-6b0d-7e5a-8c12-93f0a4b8d2e6")
RESULT_ID = UUID("6b2a1f7e-0f3c-5d7b-9a46-1c8e5f2d3b90")
_NOON = dt.datetime(2026, 3, 1, 12, tzinfo=dt.UTC)
_PREVIEW = f"https://photos.example.com/previews/{UPLOAD_ID}/{RESULT_ID}.jpg?signature=5f1e…"
_TOKEN = "3Vt0cVb2m1l6bq3o0m6v1c9f2Yw4y8kq5m9JrJ2h0dE"  # noqa: S105 — nobody's

CREATED = UploadCreated(upload_id=UPLOAD_ID, session_token=_TOKEN)
PRESIGN = PresignRequest(email="ann@example.com", content_type="image/jpeg", size_bytes=2_400_000)
PRESIGNED = UploadPresigned(
    upload_id=UPLOAD_ID,
    session_token=_TOKEN,
    url=f"https://photos.example.com/incoming/{UPLOAD_ID}?signature=a37c…",
    headers={"Content-Type": "image/jpeg"},
    expires_at=_NOON + dt.timedelta(minutes=30),
)
COMPLETED = UploadCompleted(upload_id=UPLOAD_ID, status=Status.PENDING)
PROCESS = ProcessRequest(upload_id=UPLOAD_ID)
ACCEPTED = ProcessAccepted(job_id=UPLOAD_ID, workflow_run_id=RUN_ID)
GENERATING = JobStatus(
    job_id=UPLOAD_ID,
    status=Status.PROCESSING,
    stage=Stage.GENERATING,
    progress=20,
    workflow_run_id=RUN_ID,
    attempt=1,
    result_id=None,
    preview_url=None,
    error=None,
    updated_at=_NOON,
)
DONE = msgspec.structs.replace(
    GENERATING,
    status=Status.COMPLETED,
    stage=Stage.COMPLETE,
    progress=100,
    result_id=RESULT_ID,
    preview_url=_PREVIEW,
)
RESULT = Result(
    result_id=RESULT_ID, job_id=UPLOAD_ID, preview_url=_PREVIEW, width=1024, height=768, content_type="image/jpeg"
)
STREAM = "retry: 1000\n\n" + "".join(
    f"id: {number}\ndata: {msgspec.json.encode(status).decode()}\n\n" for number, status in ((3, GENERATING), (9, DONE))
)
