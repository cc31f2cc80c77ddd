"""What is nowhere: a page for a person who mistyped an address, a problem for everybody else."""

from typing import Any

from litestar import Request, Response
from litestar.exceptions import NotFoundException

from services.gateway.http.problems import problem_response
from services.gateway.pages.files import filled_in
from services.gateway.pages.policy import WITHOUT_SCRIPTS


def nothing_here(request: Request[Any, Any, Any], error: NotFoundException) -> Response[Any]:
    """Answer a request that no route takes. The API speaks JSON whoever asks."""
    # Where a client takes anything, the first one fits.
    preferred = request.accept.best_match(["application/json", "text/html"])
    if preferred != "text/html" or request.url.path.startswith("/api/"):
        return problem_response(request, error)
    page = filled_in("missing.html")
    return Response(page.content, status_code=404, media_type=page.content_type, headers=WITHOUT_SCRIPTS)
