"""What operators ask of the read model: lists of runs, and which failed ones a replay would take.

`updated_at` changes with every event, so that an index on it would cost every update: a list of all runs goes by
`created_at`, one of failed runs by `failed_at`, which is the same for them and null for all others.
"""

import datetime as dt
from collections.abc import Sequence
from typing import Any
from uuid import UUID

import msgspec
from psycopg.rows import class_row
from psycopg.sql import SQL, Composable, Composed, Identifier, Placeholder
from psycopg_pool import AsyncConnectionPool

from contracts.events import Stage, Status
from contracts.ops import FailedGroup
from shared.projection.uploads import ERASED
from shared.read_model.queries import UploadRow
from shared.upload.saga import STAGES

Place = tuple[dt.datetime, UUID]
"""Where a page of a list ended: what the list goes by, and the id for those that share it."""


class RunFilter(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Which runs an operator wants to see; None means any. A `code` is one that runs fail with.

    `since` compares with when a failed run failed, and otherwise with when the upload was made.
    """

    status: Status | None = None
    stage: Stage | None = None
    code: str | None = None
    since: dt.datetime | None = None

    @property
    def failed(self) -> bool:
        """Whether only failed runs can match."""
        return self.status is Status.FAILED or (self.status is None and self.code is not None)


class Selection(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Which failed runs are replayed: None means any. The oldest failures come first, up to `limit`.

    A replay `from_stage` takes only runs that got as far. An erased upload is never among them.
    """

    stage: Stage | None = None
    code: str | None = None
    since: dt.datetime | None = None
    retryable_only: bool = False
    from_stage: Stage | None = None
    limit: int | None = None


_COLUMNS = SQL(", ").join(map(Identifier, UploadRow.__struct_fields__))


class RunQueries:
    """Reads of `uploads`. Every method may raise psycopg.OperationalError or psycopg_pool.PoolTimeout."""

    def __init__(self, pool: AsyncConnectionPool) -> None:
        self._pool = pool

    async def page(self, wanted: RunFilter, *, limit: int, after: Place | None = None) -> list[UploadRow]:
        """List runs, the latest first: failed ones by when they failed, others by when their upload was made."""
        query, values = page_of(wanted, limit=limit, after=after)
        async with self._pool.connection() as conn, conn.cursor(row_factory=class_row(UploadRow)) as curs:
            await curs.execute(query, values)
            return await curs.fetchall()

    async def failed_groups(self, selection: Selection) -> list[FailedGroup]:
        """Count the runs that a selection takes, by stage and code."""
        chosen, values = selected(selection)
        query = SQL(
            "SELECT stage, coalesce(error_code, '') AS code, coalesce(error_retryable, false) AS retryable,"
            " count(*)::int AS runs FROM ({chosen}) AS chosen GROUP BY 1, 2, 3 ORDER BY 4 DESC, 1, 2"
        ).format(chosen=chosen)
        async with self._pool.connection() as conn:
            rows = await (await conn.execute(query, values)).fetchall()
        return [FailedGroup(stage=Stage(s), code=code, retryable=retryable, runs=n) for s, code, retryable, n in rows]


def page_of(wanted: RunFilter, *, limit: int, after: Place | None) -> tuple[Composed, dict[str, Any]]:
    """Return the query of one page of runs and its values; it walks an index from `after` on."""
    by = Identifier("failed_at" if wanted.failed else "created_at")
    conditions, values = _conditions(wanted, by)
    if after is not None:
        conditions.append(SQL("({by}, id) < (%(place_at)s, %(place_id)s)").format(by=by))
        values |= {"place_at": after[0], "place_id": after[1]}
    query = SQL("SELECT {columns} FROM uploads WHERE {conditions} ORDER BY {by} DESC, id DESC LIMIT %(limit)s")
    return query.format(columns=_COLUMNS, conditions=SQL(" AND ").join(conditions), by=by), values | {"limit": limit}


def place_of(row: UploadRow, wanted: RunFilter) -> Place:
    """Return where a page that ends with `row` goes on."""
    return (row.updated_at if wanted.failed else row.created_at, row.id)


def selected(selection: Selection) -> tuple[Composable, dict[str, Any]]:
    """Return the query of the failed runs that a selection takes, in the order of their replay, and its values."""
    wanted = RunFilter(status=Status.FAILED, stage=selection.stage, code=selection.code, since=selection.since)
    conditions, values = _conditions(wanted, Identifier("failed_at"))
    conditions.append(SQL("email <> %(erased)s"))
    values["erased"] = ERASED
    if selection.retryable_only:
        conditions.append(SQL("error_retryable"))
    if selection.from_stage is not None:
        conditions.append(SQL("stage = ANY(%(reached)s)"))
        values["reached"] = [str(stage) for stage in stages_from(selection.from_stage)]
    query = SQL(
        "SELECT id, workflow_run_id, attempt, stage, error_code, error_retryable, updated_at FROM uploads"
        " WHERE {conditions} ORDER BY failed_at, id LIMIT %(limit)s"
    ).format(conditions=SQL(" AND ").join(conditions))
    return query, values | {"limit": selection.limit}


def stages_from(stage: Stage) -> Sequence[Stage]:
    """Return a stage and those after it."""
    return STAGES[STAGES.index(stage) :]


def _conditions(wanted: RunFilter, by: Identifier) -> tuple[list[Composable], dict[str, Any]]:
    """Write the filter as SQL, that of failed runs as their partial index has it."""
    found: list[Composable] = []
    values: dict[str, Any] = {}
    if wanted.failed:
        found.append(SQL("failed_at IS NOT NULL"))
    elif wanted.status is not None:
        found.append(SQL("status = {}").format(Placeholder("status")))
        values["status"] = str(wanted.status)
    if wanted.status is not Status.PENDING:
        found.append(SQL("workflow_run_id IS NOT NULL"))
    if wanted.stage is not None:
        found.append(SQL("stage = %(stage)s"))
        values["stage"] = str(wanted.stage)
    if wanted.code is not None:
        found.append(SQL("error_code = %(code)s"))
        values["code"] = wanted.code
    if wanted.since is not None:
        found.append(SQL("{} >= %(since)s").format(by))
        values["since"] = wanted.since
    return found, values
