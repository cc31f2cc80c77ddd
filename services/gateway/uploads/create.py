"""POST /api/uploads: a photo comes in, is looked at, put away and registered. Nothing is spent on it yet."""

import datetime as dt
import tempfile
from pathlib import Path
from typing import Any

import uuid_utils.compat
from litestar import Request, post

from contracts.http import MAX_IMAGE_BYTES, UploadCreated
from services.gateway.dependencies import Announced, Cpu, Objects, Store
from services.gateway.http.bodies import UploadForm
from services.gateway.http.deadlines import with_deadline
from services.gateway.http.problems import InvalidRequestError
from services.gateway.http.rate_limits import upload_rate
from services.gateway.http.sessions import digest, new_token
from services.gateway.http.spools import FORM_BYTES
from services.gateway.openapi.document import UPLOAD_FORM, described
from services.gateway.openapi.examples import CREATED
from services.gateway.openapi.problem_responses import problems
from services.gateway.uploads.dependencies import SpoolsPart
from services.gateway.uploads.registration import STORE_WAIT, as_email, registered
from shared.imaging import ImageHeader, ImageRefused, Refusal, read_header
from shared.storage.keys import original_key

PUT_AWAY = dt.timedelta(hours=1)
"""How long a photo may take from here to the object store and its registration; afterwards it is removed."""


@post(
    "/api/uploads",
    operation_id="createUpload",
    summary="Upload a photo",
    description="Takes a photo in. The session token in the answer opens everything else; it is shown only here.",
    tags=["Uploads"],
    status_code=201,
    response_description="The photo is registered and can be processed.",
    before_request=upload_rate,
    request_max_body_size=MAX_IMAGE_BYTES + FORM_BYTES,
    operation_class=described(CREATED, body=UPLOAD_FORM),
    responses=problems(
        "INVALID_REQUEST",
        "IMAGE_TOO_SMALL",
        "IMAGE_CORRUPT",
        "REQUEST_TIMEOUT",
        "IMAGE_TOO_LARGE",
        "UNSUPPORTED_IMAGE",
        "UNSUPPORTED_MEDIA_TYPE",
        "RATE_LIMITED",
        "UNAVAILABLE",
    ),
)
async def create_upload(
    request: Request[Any, Any, Any],
    store: Store,
    announced: Announced,
    objects: Objects,
    cpu: Cpu,
    spools: SpoolsPart,
) -> UploadCreated:
    """Register an upload and return its session token, this once. What the header of the file shows is refused here."""
    upload_id, token = uuid_utils.compat.uuid7(), new_token()
    key = original_key(upload_id)
    with spools.open(request) as spool, tempfile.TemporaryDirectory(prefix="darkroom-") as folder:
        path = Path(folder) / "photo"
        form = UploadForm(path, spool)
        await form.read(request)
        email = as_email(form.email)
        if not form.image_bytes:
            raise InvalidRequestError("The form has no file named `image`.")
        if form.image_bytes > MAX_IMAGE_BYTES:
            raise ImageRefused(Refusal.IMAGE_TOO_LARGE, "The file is larger than 50 MB.")
        header: ImageHeader = await cpu.run(read_header, path)
        # Before the bytes, so that a crash leaves none that nobody knows of.
        await with_deadline(lambda: announced.add_unnamed(upload_id, lifetime=PUT_AWAY))
        await objects.put_file(key, path, header.content_type)
    event = registered(upload_id, key, header, email=email, token_digest=digest(token), size_bytes=form.image_bytes)
    try:
        await store.append(event, announced=True, wait=STORE_WAIT)
    except Exception:
        # Perhaps the event was written and only the answer lost; but nobody has its token, so nobody misses the bytes.
        await objects.delete(key)
        raise
    return UploadCreated(upload_id=upload_id, session_token=token)
