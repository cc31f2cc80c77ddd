"""/health/live and /health/ready: alive at all, and able to take work."""

from litestar import Response, get
from psycopg import Error as DatabaseError
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from services.gateway.dependencies import Objects, Pool, TransportDependency
from services.gateway.http.deadlines import with_deadline
from shared.storage.port import ObjectStore, ObjectStoreError


@get("/health/live", include_in_schema=False)
async def live() -> dict[str, str]:
    """Answer while the event loop turns."""
    return {"status": "ok"}


@get("/health/ready", include_in_schema=False)
async def ready(pool: Pool, objects: Objects, transport: TransportDependency) -> Response[dict[str, str]]:
    """Return whether uploads can be taken: 200, or 503 naming what is away.

    The broker may be down: what it would carry waits in the outbox. So that is said, and changes nothing.
    """
    needed = {"database": await _database(pool), "objects": await _objects(objects)}
    fine = all(state == "ok" for state in needed.values())
    broker = "ok" if transport.up else "away"
    answer = {"status": "ok" if fine else "unavailable", **needed, "broker": broker}
    return Response(answer, status_code=200 if fine else 503)


async def _database(pool: AsyncConnectionPool) -> str:
    async def ask() -> None:
        async with pool.connection() as conn:
            await conn.execute("SELECT 1")

    try:
        await with_deadline(ask)
    except (DatabaseError, PoolTimeout, TimeoutError) as error:
        return type(error).__name__
    return "ok"


async def _objects(objects: ObjectStore) -> str:
    try:
        await objects.ping()
    except ObjectStoreError as error:
        return type(error).__name__
    return "ok"
