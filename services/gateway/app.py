"""The gateway: HTTP in, events out. The only process that speaks to clients."""

from functools import partial

from litestar import Litestar
from litestar.config.cors import CORSConfig
from litestar.datastructures import State
from litestar.exceptions import NotFoundException
from litestar.types import ASGIApp, ControllerRouterHandler

from services.gateway.dependencies import as_dependencies
from services.gateway.health import live, ready
from services.gateway.http.bodies import JsonRequest
from services.gateway.http.client_address import Clients
from services.gateway.http.problems import problem_response
from services.gateway.http.rate_limits import CallLimits
from services.gateway.http.spools import Spools
from services.gateway.jobs.dependencies import JobDependencies
from services.gateway.jobs.events import stream_status
from services.gateway.jobs.results import get_result
from services.gateway.jobs.start import retry_processing, start_processing
from services.gateway.jobs.status import get_status
from services.gateway.jobs.status_cache import with_status_cache
from services.gateway.jobs.status_streams import StatusStreams
from services.gateway.jobs.waiters import Waiters
from services.gateway.middleware.headers import with_headers
from services.gateway.middleware.telemetry import get_metrics, with_telemetry
from services.gateway.openapi.document import openapi_config
from services.gateway.operators.routes import ops_routes
from services.gateway.pages import nothing_here, page_routes
from services.gateway.server import serve
from services.gateway.uploads.create import create_upload
from services.gateway.uploads.direct_uploads import DirectUploads
from services.gateway.uploads.janitor import janitor_of
from services.gateway.uploads.objects import get_object, put_object
from services.gateway.uploads.presign import complete_upload, presign_upload
from shared.bootstrap import Runtime
from shared.database.conninfo import conninfo_with_timeouts
from shared.database.rate_limits import RateLimits
from shared.eventstore.pending_uploads import PendingUploads
from shared.eventstore.stream_reader import StreamReader
from shared.read_model.changes import ChangeListener
from shared.read_model.queries import UploadQueries
from shared.settings import Settings
from shared.storage.local import LocalObjectStore

JSON_BODY_BYTES = 64 * 1024
"""Largest body of a request that uploads nothing."""

API: list[ControllerRouterHandler] = [
    create_upload,
    presign_upload,
    complete_upload,
    start_processing,
    retry_processing,
    get_status,
    stream_status,
    get_result,
    live,
    ready,
    get_metrics,
]


def attach(runtime: Runtime) -> None:
    """Serve HTTP from this process."""
    changes = ChangeListener(conninfo_with_timeouts(runtime.settings.database.database_url))
    runtime.attach_background(changes.run)
    runtime.attach_background(janitor_of(runtime).run)
    app = create_app(runtime, changes)
    runtime.attach_background(partial(serve, app, runtime.settings.process, on_stop=changes.close))


def create_app(runtime: Runtime, changes: ChangeListener) -> ASGIApp:
    """Build the ASGI application over a process's parts."""
    reads = UploadQueries(runtime.pool)
    local = isinstance(runtime.objects, LocalObjectStore)
    clients = Clients(runtime.settings.gateway)
    parts = _dependencies(runtime, changes, reads, clients)
    app = Litestar(
        route_handlers=[*API, *page_routes, *([get_object, put_object] if local else []), ops_routes(runtime, clients)],
        dependencies=as_dependencies(parts),
        state=State({"limits": CallLimits(RateLimits(runtime.pool), runtime.settings.gateway, clients)}),
        exception_handlers={Exception: problem_response, NotFoundException: nothing_here},
        request_class=JsonRequest,
        request_max_body_size=JSON_BODY_BYTES,
        cors_config=_cors(runtime.settings),
        openapi_config=openapi_config(),
        logging_config=None,
        debug=False,
    )
    return with_headers(with_telemetry(with_status_cache(app, reads)), runtime.settings)


def _dependencies(
    runtime: Runtime, changes: ChangeListener, reads: UploadQueries, clients: Clients
) -> dict[str, object]:
    pending = PendingUploads(runtime.pool)
    waiters = Waiters(clients, runtime.settings.gateway)
    return {
        "jobs": JobDependencies(runtime.store, reads, runtime.objects, changes, waiters),
        "store": runtime.store,
        "announced": pending,
        "reads": reads,
        "objects": runtime.objects,
        "local": runtime.objects,
        "cpu": runtime.cpu,
        "pool": runtime.pool,
        "analytics": runtime.settings.analytics,
        "transport": runtime.transport,
        "streams": StatusStreams(StreamReader(runtime.pool), changes, runtime.objects),
        "waiters": waiters,
        "spools": Spools(clients, runtime.settings.gateway),
        "direct": DirectUploads(runtime.store, reads, pending, runtime.objects, runtime.cpu),
    }


def _cors(settings: Settings) -> CORSConfig | None:
    """Let the pages of other origins call, if any may. The token travels in a header, so no cookies are asked for."""
    if not settings.gateway.origins:
        return None
    return CORSConfig(
        allow_origins=settings.gateway.origins,
        allow_methods=["GET", "POST", "PUT"],
        allow_headers=["Content-Type", "If-None-Match", "Last-Event-ID", "X-Request-Id", "X-Session-Token"],
        expose_headers=["ETag", "Retry-After", "X-Request-Id"],
    )
