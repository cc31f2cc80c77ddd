"""What the OpenAPI document says beside what Litestar reads off the handlers: errors by code, examples, the token."""

from dataclasses import dataclass, field
from typing import Any

import msgspec
from litestar.openapi import OpenAPIConfig, ResponseSpec
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.openapi.spec import Components, Example, Operation, RequestBody, SecurityScheme, Tag
from litestar.openapi.spec.enums import OpenAPIFormat, OpenAPIType
from litestar.openapi.spec.media_type import OpenAPIMediaType
from litestar.openapi.spec.schema import Schema

from contracts.events import Status
from contracts.http import Problem
from services.gateway.problems import MEDIA_TYPE

UPLOAD_ID = "0199b1c2-5a7e-7c31-9f04-2f5d1f6f7a10"
RUN_ID = "0199b1c2-6b0d-7e5a-8c12-93f0a4b8d2e6"
RESULT_ID = "6b2a1f7e-0f3c-5d7b-9a46-1c8e5f2d3b90"

OWNER: list[dict[str, list[str]]] = [{"sessionToken": []}]
"""The security requirement of a route that belongs to an upload's owner."""

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
    "NOT_RETRYABLE": (409, "Cannot be retried", "`currentStatus` says how the run stands."),
    "UPLOAD_INCOMPLETE": (409, "The upload is not complete", "The object is not there, or not as announced."),
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
_EVENT = (
    f'id: 2\ndata: {{"jobId":"{UPLOAD_ID}","status":"processing","stage":"validating","progress":5,'
    f'"workflowRunId":"{RUN_ID}","attempt":1,"resultId":null,"previewUrl":null,"error":null,'
    '"updatedAt":"2026-03-01T12:00:00Z"}\n\n'
)
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
            examples=[Example(summary=code, id=code, value=_problem(code)) for code in listed],
        )
        for status, listed in by_status.items()
    }


def _problem(code: str) -> Any:
    status, title, detail = _PROBLEMS[code]
    problem = Problem(title=title, status=status, code=code, request_id=UPLOAD_ID, detail=detail)
    if code in _STANDING:
        problem = msgspec.structs.replace(problem, current_status=_STANDING[code])
    return msgspec.to_builtins(problem)


@dataclass
class UploadOperation(Operation):
    """The multipart form, which the handler reads piece by piece and Litestar therefore does not know."""

    request_body: Any = field(
        default_factory=lambda: RequestBody(
            required=True,
            content={
                "multipart/form-data": OpenAPIMediaType(
                    schema=Schema(
                        type=OpenAPIType.OBJECT,
                        required=["image", "email"],
                        additional_properties=False,
                        properties={
                            "image": Schema(
                                type=OpenAPIType.STRING,
                                format="binary",  # type: ignore[arg-type]  # OpenAPI 3.0's word, which tools still go by
                                content_media_type="application/octet-stream",
                                description="A JPEG, PNG, WebP or AVIF picture of up to 50 MB and 50 megapixels.",
                            ),
                            "email": Schema(
                                type=OpenAPIType.STRING,
                                format=OpenAPIFormat.EMAIL,
                                max_length=254,
                                examples=["ann@example.com"],
                            ),
                        },
                    )
                )
            },
        )
    )


def json_body(kind: type[msgspec.Struct], example: msgspec.Struct) -> type[Operation]:
    """Describe a body that the handler reads itself, in msgspec's own words."""
    schema = msgspec.json.schema(kind)["$defs"][kind.__name__]
    content = OpenAPIMediaType(schema=schema, examples={"a request": Example(value=msgspec.to_builtins(example))})

    @dataclass
    class JsonOperation(Operation):
        request_body: Any = field(
            default_factory=lambda: RequestBody(required=True, content={"application/json": content})
        )

    return JsonOperation


@dataclass
class StreamOperation(Operation):
    """The event stream: the document can only say that it is text, and show some of it."""

    def __post_init__(self) -> None:
        """Replace what Litestar makes of a streamed body."""
        if self.responses is not None:
            self.responses["200"].content = {  # type: ignore[union-attr]
                "text/event-stream": OpenAPIMediaType(
                    schema=Schema(type=OpenAPIType.STRING),
                    examples={"a change": Example(value=_EVENT)},
                )
            }


def openapi_config() -> OpenAPIConfig:
    """Serve the document as JSON at /schema; pages that show it load scripts from elsewhere, so there is none here."""
    return OpenAPIConfig(
        title="darkroom",
        version="1",
        description=(
            "A photo goes in, a finished picture comes out. Upload it, start its processing with the session token"
            " that the upload gave you, and follow the job until it is `completed` or `failed`."
        ),
        path="/schema",
        render_plugins=[JsonRenderPlugin(path=["/", "/openapi.json"])],
        tags=[
            Tag(name="Uploads", description="A photo comes in."),
            Tag(name="Jobs", description="Its processing is started and followed."),
            Tag(name="Results", description="The finished picture."),
        ],
        components=Components(
            security_schemes={
                "sessionToken": SecurityScheme(
                    type="apiKey",
                    name="X-Session-Token",
                    security_scheme_in="header",
                    description="What the upload's 201 gave as `sessionToken`. It opens this one upload.",
                )
            }
        ),
    )
