"""How often a client may call, counted in PostgreSQL, so that any number of gateways keep one limit between them."""

import datetime as dt
from typing import LiteralString

from psycopg_pool import AsyncConnectionPool

MINUTE = dt.timedelta(minutes=1)

# The generic cell rate algorithm: a caller's `due_at` moves on by one share of the minute with each call, and may be
# at most a minute ahead. So as many calls as the limit may come at once, and after that one a share. A refused call
# changes nothing and says how long to wait; one that lost the race for a new row is told to wait for one share.
_TAKE = """
WITH taken AS (
    INSERT INTO rate_limits AS r (caller, due_at) VALUES (%(caller)s, clock_timestamp() + %(share)s)
    ON CONFLICT (caller) DO UPDATE SET due_at = greatest(r.due_at, clock_timestamp()) + %(share)s
    WHERE greatest(r.due_at, clock_timestamp()) + %(share)s <= clock_timestamp() + %(minute)s
    RETURNING 1
)
SELECT CASE WHEN EXISTS (SELECT FROM taken) THEN 0 ELSE greatest(0.001, extract(epoch FROM coalesce(
    (SELECT due_at + %(share)s - %(minute)s - clock_timestamp() FROM rate_limits WHERE caller = %(caller)s), %(share)s
))) END::float8
"""


_WAIT = """
SELECT greatest(0, extract(epoch FROM due_at + %(share)s - %(minute)s - clock_timestamp()))::float8
FROM rate_limits WHERE caller = %(caller)s
"""


class RateLimits:
    """Counts calls. Every method may raise psycopg.OperationalError or psycopg_pool.PoolTimeout."""

    def __init__(self, pool: AsyncConnectionPool) -> None:
        self._pool = pool

    async def take(self, caller: str, a_minute: int) -> float:
        """Count a call: 0 where it may go on, else the seconds until the caller's next one may."""
        return await self._ask(_TAKE, caller, a_minute)

    async def wait_of(self, caller: str, a_minute: int) -> float:
        """Return the seconds until a caller's next call may come, and count none."""
        return await self._ask(_WAIT, caller, a_minute)

    async def _ask(self, query: LiteralString, caller: str, a_minute: int) -> float:
        # Rounded down, so that the whole limit fits into the minute.
        share = dt.timedelta(microseconds=60_000_000 // a_minute)
        async with self._pool.connection() as conn:
            curs = await conn.execute(query, {"caller": caller, "share": share, "minute": MINUTE}, prepare=True)
            row = await curs.fetchone()
        return float(row[0]) if row else 0.0

    async def forget(self) -> None:
        """Remove callers who may call as often as anybody: the table holds the last minute's."""
        async with self._pool.connection() as conn:
            await conn.execute("DELETE FROM rate_limits WHERE due_at < now()")
