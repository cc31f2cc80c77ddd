"""What the OpenAPI document says beside what Litestar reads off the handlers: bodies, headers, examples, the token."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.openapi.spec import (
    Components,
    Example,
    OpenAPIHeader,
    Operation,
    Reference,
    RequestBody,
    SecurityScheme,
    Tag,
)
from litestar.openapi.spec.enums import OpenAPIFormat, OpenAPIType
from litestar.openapi.spec.media_type import OpenAPIMediaType
from litestar.openapi.spec.schema import Schema

OWNER: list[dict[str, list[str]]] = [{"sessionToken": []}]
"""The security requirement of a route that belongs to an upload's owner."""

_STRING = Schema(type=OpenAPIType.STRING)
_REQUEST_ID = OpenAPIHeader(schema=_STRING, description="The request's id: the caller's own if it sent a sane one.")
_RETRY_AFTER = OpenAPIHeader(schema=Schema(type=OpenAPIType.INTEGER), description="Seconds to wait with the next try.")
_ETAG = OpenAPIHeader(schema=_STRING, description="Changes with every change of the job.")
_COME_BACK = frozenset({"429", "500", "503"})
_STREAM = "text/event-stream"
_EVENT = Schema(
    type=OpenAPIType.OBJECT,
    description="One event, by its fields.",
    required=["id", "data"],
    properties={
        "id": Schema(type=OpenAPIType.STRING, pattern="^[1-9][0-9]*$", description="Counts the job's changes from 1."),
        "data": Schema(
            type=OpenAPIType.STRING,
            content_media_type="application/json",
            description="A `JobStatus`, as JSON.",
        ),
    },
)

UPLOAD_FORM = RequestBody(
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


def json_body(example: msgspec.Struct) -> RequestBody:
    """Describe a body that the handler reads itself, in msgspec's own words, by one of its kind."""
    kind = type(example)
    content = OpenAPIMediaType(
        schema=msgspec.json.schema(kind)["$defs"][kind.__name__], examples=_shown(msgspec.to_builtins(example))
    )
    return RequestBody(required=True, content={"application/json": content})


def described(
    answer: msgspec.Struct | str, *, body: RequestBody | None = None, tagged: bool = False
) -> type[Operation]:
    """Describe a route by an example of its answer (text for a stream), its body, and whether answers have an ETag."""

    @dataclass
    class DescribedOperation(Operation):
        def __post_init__(self) -> None:
            if body is not None:
                self.request_body = body
            for status, response in (self.responses or {}).items():
                if isinstance(response, Reference):
                    continue
                response.headers = {**(response.headers or {}), **_headers(status, tagged=tagged)}
                if status.startswith("2") and response.content:
                    response.content = _content(response.content, answer)

    return DescribedOperation


def _headers(status: str, *, tagged: bool) -> dict[str, Any]:
    headers = {"X-Request-Id": _REQUEST_ID}
    if status in _COME_BACK:
        headers["Retry-After"] = _RETRY_AFTER
    if tagged and status in {"200", "304"}:
        headers["ETag"] = _ETAG
    return headers


def _content(content: Mapping[str, OpenAPIMediaType], answer: msgspec.Struct | str) -> dict[str, OpenAPIMediaType]:
    if isinstance(answer, str):
        return {_STREAM: OpenAPIMediaType(schema=_EVENT, examples=_shown(answer))}
    for media_type in content.values():
        media_type.examples = _shown(msgspec.to_builtins(answer))
    return dict(content)


def _shown(value: object) -> dict[str, Example | Reference]:
    return {"example": Example(value=value)}


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
