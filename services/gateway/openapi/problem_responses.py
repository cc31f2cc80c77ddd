"""Every error that a route may answer with, for the OpenAPI document."""

from typing import Any

import msgspec
from litestar.openapi import ResponseSpec
from litestar.openapi.spec import Example

from contracts.events import Status
from contracts.http import Problem
from services.gateway.http.problems import MEDIA_TYPE
from services.gateway.openapi.examples import UPLOAD_ID

# code: status, title, and what a client should make of it
_PROBLEMS: dict[str, tuple[int, str, str]] = {
    "INVALID_REQUEST": (400, "The request is not valid", "`detail` says what is wrong with which member."),
    "IMAGE_TOO_SMALL": (400, "The picture was refused", "A side has too few pixels."),
    "IMAGE_CORRUPT": (400, "The picture was refused", "The file is damaged or incomplete."),
    "INVALID_SESSION_TOKEN": (401, "Not your upload", "The session token is missing or not this upload's."),
    "SIGNATURE_MISMATCH": (403, "Not allowed", "The URL does not allow this upload, or it has expired."),
    "UPLOAD_NOT_FOUND": (404, "No such upload", "There is no upload with this id."),
    "RESULT_NOT_FOUND": (404, "No such result", "There is no result with this id."),
    "REQUEST_TIMEOUT": (408, "The request took too long", "The body came in too slowly."),
    "ALREADY_PROCESSING": (409, "Already asked for", "`currentStatus` and `workflowRunId` say how that run stands."),
    "NOT_RETRYABLE": (409, "Cannot be retried", "`currentStatus` says how the run stands, `detail` why."),
    "UPLOAD_INCOMPLETE": (409, "The upload is not complete", "The object is not there, or not as announced."),
    "BEING_COMPLETED": (
        409,
        "Being completed",
        "Another call is at it. `Retry-After` says in how many seconds to ask again.",
    ),
    "LENGTH_REQUIRED": (411, "Length required", "The request needs a Content-Length."),
    "IMAGE_TOO_LARGE": (413, "The picture was refused", "It has too many bytes or pixels."),
    "REQUEST_TOO_LARGE": (413, "The request is too large", "The body has too many bytes."),
    "UNSUPPORTED_IMAGE": (415, "The picture was refused", "The file is no single JPEG, PNG, WebP or AVIF picture."),
    "UNSUPPORTED_MEDIA_TYPE": (415, "Unsupported media type", "The body is of a kind that is not read here."),
    "RATE_LIMITED": (429, "Too many requests", "`Retry-After` says in how many seconds to try again."),
    "WORKFLOW_TRIGGER_FAILED": (
        500,
        "Could not be started",
        "`Retry-After` says in how many seconds to try again; `ALREADY_PROCESSING` then means that it did start.",
    ),
    "UNAVAILABLE": (503, "Not available", "For the moment. `Retry-After` says in how many seconds to try again."),
}
_STANDING = {"ALREADY_PROCESSING": Status.PROCESSING, "NOT_RETRYABLE": Status.COMPLETED}


def problems(*codes: str) -> dict[int, ResponseSpec]:
    """Describe a route's errors, by status."""
    by_status: dict[int, list[str]] = {}
    for code in codes:
        by_status.setdefault(_PROBLEMS[code][0], []).append(code)
    return {
        status: ResponseSpec(
            Problem,
            generate_examples=False,
            description=" ".join(f"`{code}`: {_PROBLEMS[code][2]}" for code in listed),
            media_type=MEDIA_TYPE,
            examples=[Example(summary=code, value=_problem(code)) for code in listed],
        )
        for status, listed in by_status.items()
    }


def _problem(code: str) -> Any:
    status, title, detail = _PROBLEMS[code]
    problem = Problem(title=title, status=status, code=code, request_id=str(UPLOAD_ID), detail=detail)
    if code in _STANDING:
        problem = msgspec.structs.replace(problem, current_status=_STANDING[code])
    return msgspec.to_builtins(problem)
