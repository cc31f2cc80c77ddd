"""/health/live and /health/ready: alive at all, and able to take work."""

from typing import Any

from litestar import Response, get
from psycopg import Error as DatabaseError
from psycopg_pool import PoolTimeout

from services.gateway.parts import Objects, Pool
from shared.storage.port import ObjectStoreError


@get("/health/live", include_in_schema=False)
async def live() -> dict[str, str]:
    """Answer while the event loop turns."""
    return {"status": "ok"}


@get("/health/ready", include_in_schema=False)
async def ready(pool: Pool, objects: Objects) -> Response[dict[str, Any]]:
    """Say whether uploads can be taken: 200, or 503 naming what is away. The broker may be down: the outbox waits."""
    parts: dict[str, str] = {}
    try:
        async with pool.connection() as conn:
            await conn.execute("SELECT 1")
        parts["database"] = "ok"
    except (DatabaseError, PoolTimeout) as error:
        parts["database"] = type(error).__name__
    try:
        await objects.ping()
        parts["objects"] = "ok"
    except ObjectStoreError as error:
        parts["objects"] = type(error).__name__
    fine = all(state == "ok" for state in parts.values())
    return Response({"status": "ok" if fine else "unavailable", **parts}, status_code=200 if fine else 503)
