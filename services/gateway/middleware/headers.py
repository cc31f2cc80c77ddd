"""What holds for every answer, whoever gives it: a request id, security headers, and a client that keeps moving.

Around the whole application, because Litestar's own middleware does not see what no route answers.
"""

import structlog
import uuid_utils
from litestar.enums import ScopeType
from litestar.exceptions import LitestarException
from litestar.types import ASGIApp, HTTPScope, Message, Receive, Scope, Send

from services.gateway.middleware.slow_clients import MinimumRateBody, send_with_timeout
from shared.observability import logs
from shared.settings import Settings

log = structlog.get_logger(__name__)

REQUEST_ID_LENGTH = 64

_ALWAYS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    # For what is no page. A page says itself what it needs.
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    "Cache-Control": "no-store",
}
_HSTS = "max-age=31536000"


def with_headers(app: ASGIApp, settings: Settings) -> ASGIApp:
    """Wrap the application."""
    said = _ALWAYS | ({"Strict-Transport-Security": _HSTS} if settings.process.environment == "production" else {})
    fixed = [(name.lower().encode(), value.encode()) for name, value in said.items()]

    async def wrapped(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP:
            await app(scope, receive, send)
            return
        request_id = _given_id(scope) or str(uuid_utils.uuid7())
        scope["state"]["request_id"] = request_id

        async def send_on(message: Message) -> None:
            if message["type"] == "http.response.start":
                given = {name for name, _ in message["headers"]}
                message["headers"] = [
                    *message["headers"],
                    (b"x-request-id", request_id.encode()),
                    *(header for header in fixed if header[0] not in given),
                ]
            await send(message)

        with logs.of_request(request_id):
            body = MinimumRateBody(scope, receive, settings.gateway.upload_timeout)
            try:
                await app(scope, body.receive, _for_head(scope, send_with_timeout(send_on)))
                await body.discard()
            except LitestarException as error:
                # What goes wrong after an answer has begun cannot be answered any more; often it is the client's going.
                log.warning("response_aborted", error=type(error.__cause__ or error).__name__)
                raise

    return wrapped


def _for_head(scope: HTTPScope, send: Send) -> Send:
    """Answer HEAD as GET is answered, without the body: Litestar routes HEAD nowhere by itself."""
    scope["state"]["head"] = scope["method"] == "HEAD"
    if scope["method"] != "HEAD":
        return send
    scope["method"] = "GET"

    async def send_without_body(message: Message) -> None:
        if message["type"] == "http.response.body":
            message["body"] = b""
        await send(message)

    return send_without_body


def _given_id(scope: HTTPScope) -> str | None:
    """Return the caller's own id for the request, if it is fit for a log."""
    for name, value in scope["headers"]:
        if name.lower() == b"x-request-id":
            text = value.decode("latin-1")
            sane = text.isascii() and text.replace("-", "").replace("_", "").isalnum()
            return text if sane and len(text) <= REQUEST_ID_LENGTH else None
    return None
