"""GET / and GET /processing/{jobId}, each the same page for everyone, and the files they load."""

from typing import Any

import msgspec
from litestar import Request, Response, get
from litestar.exceptions import NotFoundException
from litestar.params import FromPath
from litestar.types import ControllerRouterHandler

from contracts.http import MAX_IMAGE_BYTES
from services.gateway.dependencies import AnalyticsSettings, Objects
from services.gateway.pages.files import PageFile, filled_in, page_files
from services.gateway.pages.policy import page_headers
from shared.settings import Analytics

FOR_EVER = "public, max-age=31536000, immutable"
ASK_AGAIN = "no-cache"


class PageConfig(msgspec.Struct, frozen=True, rename="camel"):
    """What a page's scripts are told, in its <meta name="darkroom">. Sizes are in bytes."""

    max_image_bytes: int
    posthog_api_key: str
    posthog_host: str


@get("/", include_in_schema=False)
async def show_upload_page(
    request: Request[Any, Any, Any], objects: Objects, analytics: AnalyticsSettings
) -> Response[bytes]:
    """Show the page that takes a photo."""
    return _answer(request, _page("upload.html", analytics), ASK_AGAIN, await page_headers(objects, analytics))


@get("/processing/{job_id:str}", include_in_schema=False)
async def show_processing_page(
    request: Request[Any, Any, Any], job_id: FromPath[str], objects: Objects, analytics: AnalyticsSettings
) -> Response[bytes]:
    """Show the page that follows a run. Whose it is, and whether there is one, the page asks with its session token."""
    del job_id
    return _answer(request, _page("processing.html", analytics), ASK_AGAIN, await page_headers(objects, analytics))


@get("/assets/{version:str}/{name:str}", include_in_schema=False)
async def get_asset(request: Request[Any, Any, Any], version: FromPath[str], name: FromPath[str]) -> Response[bytes]:
    """Return a file, for ever under the present version; under another, from around a deployment, for this once."""
    files = page_files()
    file = files.by_name.get(name)
    if file is None or name.endswith(".html"):
        raise NotFoundException
    caching = FOR_EVER if version == files.version else ASK_AGAIN
    return _answer(request, file, caching, {})


page_routes: list[ControllerRouterHandler] = [show_upload_page, show_processing_page, get_asset]


def _page(name: str, analytics: Analytics) -> PageFile:
    """Tell a page's scripts what they need; no host is named where nothing is sent to it."""
    host = analytics.posthog_host.rstrip("/") if analytics.posthog_api_key else ""
    config = PageConfig(MAX_IMAGE_BYTES, analytics.posthog_api_key, host)
    return filled_in(name, msgspec.json.encode(config).decode())


def _answer(request: Request[Any, Any, Any], file: PageFile, caching: str, headers: dict[str, str]) -> Response[bytes]:
    headers = {**headers, "Cache-Control": caching, "ETag": file.etag}
    if file.etag in request.headers.get("If-None-Match", ""):
        return Response(b"", status_code=304, headers=headers)
    return Response(file.content, media_type=file.content_type, headers=headers)
