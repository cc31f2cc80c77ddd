"""/api/ops/*: operators look at runs, replay them and handle dead letters. What the command line does, over HTTP."""

import datetime as dt
from typing import Annotated
from uuid import UUID

from litestar import Response, Router, get, post
from litestar.di import NamedDependency, Provide
from litestar.params import FromPath, FromQuery, JSONBody, QueryParameter, SkipValidation

from contracts.events import Stage, Status
from contracts.ops import (
    CancelReplay,
    DeadQueues,
    Estimate,
    Redrive,
    Redriven,
    Replay,
    ReplayMany,
    ReplayPage,
    ReplayRun,
    Replays,
    RunPage,
    RunReplayed,
    RunTimeline,
)
from services.gateway.http.client_address import Clients
from services.gateway.operators.access import (
    OPERATOR,
    PROBLEMS,
    NoBrokerError,
    OperatorToken,
    ReasonMissingError,
    operator_only,
    ops_problem,
)
from services.gateway.operators.views import cursor_of, event_view, item_view, place_in, replay_view, run_view
from shared.bootstrap import Runtime
from shared.database.rate_limits import RateLimits
from shared.messaging.dead_letter_queues import named, open_dead_letters
from shared.operations.bulk_replay import (
    Pacing,
    ReplayJobNotFoundError,
    ReplayProgress,
    cancel_bulk,
    estimate_bulk,
    replay_progress,
    start_bulk,
)
from shared.operations.context import OperatorContext, operator_context
from shared.operations.dead_letters import redrive_audited
from shared.operations.replay import RunNotFoundError, find_run, replay_one
from shared.operations.runs import RunFilter, Selection, place_of
from shared.settings import Settings

ContextDependency = NamedDependency[SkipValidation[OperatorContext]]
OpsSettings = NamedDependency[SkipValidation[Settings]]
Limit = Annotated[int, QueryParameter(ge=1, le=500)]


def ops_routes(runtime: Runtime, clients: Clients) -> Router:
    """Return the routes over a process's parts, behind the operators' token."""
    context = operator_context(runtime.pool, runtime.store)
    token = OperatorToken(runtime.settings.operators.operator_token, RateLimits(runtime.pool), clients)
    handlers = [
        list_runs,
        show_run,
        replay_run,
        replay_many,
        list_replays,
        show_replay,
        cancel_replay,
        list_dead_letters,
        redrive_dead_letters,
    ]
    return Router(
        path="/api/ops",
        route_handlers=handlers,
        guards=[operator_only(token)],
        exception_handlers=dict.fromkeys(PROBLEMS, ops_problem),
        dependencies={
            "context": Provide(lambda: context, sync_to_thread=False),
            "ops_settings": Provide(lambda: runtime.settings, sync_to_thread=False),
        },
        tags=["operators"],
    )


@get("/runs")
async def list_runs(
    context: ContextDependency,
    status: FromQuery[Status | None] = None,
    stage: FromQuery[Stage | None] = None,
    code: FromQuery[str | None] = None,
    since: FromQuery[dt.datetime | None] = None,
    limit: Limit = 50,
    cursor: FromQuery[str | None] = None,
) -> RunPage:
    """List runs, the latest first: failed ones by when they failed, others by when their upload was made."""
    wanted = RunFilter(status=status, stage=stage, code=code, since=_in_zone(since))
    rows = await context.runs.page(wanted, limit=limit, after=place_in(cursor) if cursor else None)
    more = cursor_of(place_of(rows[-1], wanted)) if len(rows) == limit else None
    return RunPage(runs=[run_view(row) for row in rows], next=more)


@get("/runs/{run_id:str}")
async def show_run(run_id: FromPath[str], context: ContextDependency) -> RunTimeline:
    """Return a run's timeline, by its id or its upload's."""
    row = await find_run(context, _run_id(run_id))
    events = await context.store.history(row.id, wait=5)
    return RunTimeline(run=run_view(row), events=[event_view(event) for event in events])


@post("/runs/{run_id:str}/replay", status_code=202)
async def replay_run(run_id: FromPath[str], data: JSONBody[ReplayRun], context: ContextDependency) -> RunReplayed:
    """Resume a failed run as its next attempt; what earlier stages made is used again."""
    row = await find_run(context, _run_id(run_id))
    event = await replay_one(context, row.id, from_stage=data.from_stage, by=OPERATOR, reason=data.reason)
    return RunReplayed(
        upload_id=row.id,
        workflow_run_id=event.workflow_run_id,
        attempt=event.attempt,
        from_stage=event.from_stage,
    )


@post("/replays", status_code=202)
async def replay_many(
    data: JSONBody[ReplayMany], context: ContextDependency, ops_settings: OpsSettings
) -> Response[Replay | Estimate]:
    """Start a replay of all failed runs that match (202), or with `dryRun` only estimate it (200)."""
    selection = Selection(
        stage=data.stage,
        code=data.code,
        since=_in_zone(data.since),
        retryable_only=data.retryable_only,
        from_stage=data.from_stage,
        limit=data.limit,
    )
    pacing = Pacing(rate=data.rate, at_once=data.at_once, stop_at=data.stop_at)
    if data.dry_run:
        cost = ops_settings.operators.provider_call_cost
        return Response(await estimate_bulk(context, selection, pacing, call_cost=cost), status_code=200)
    if data.reason is None:
        raise ReasonMissingError
    job = await start_bulk(context, selection, pacing, by=OPERATOR, reason=data.reason)
    return Response(replay_view(await replay_progress(context, job.id)), status_code=202)


@get("/replays")
async def list_replays(context: ContextDependency, limit: Limit = 20) -> Replays:
    """List replays of many runs, the latest first."""
    jobs = await context.jobs.latest(limit)
    return Replays(replays=[replay_view(ReplayProgress(job, await context.jobs.tally(job.id))) for job in jobs])


@get("/replays/{job_id:str}")
async def show_replay(
    job_id: FromPath[str],
    context: ContextDependency,
    limit: Limit = 100,
    after: Annotated[int, QueryParameter(ge=0)] = 0,
) -> ReplayPage:
    """Return how a replay stands and what became of its runs, in the order of their replay."""
    found = await replay_progress(context, _job_id(job_id))
    items = await context.jobs.items(found.job.id, limit=limit, after=after)
    more = items[-1].position if len(items) == limit else None
    return ReplayPage(replay=replay_view(found), runs=[item_view(item) for item in items], next=more)


@post("/replays/{job_id:str}/cancel", status_code=200)
async def cancel_replay(job_id: FromPath[str], data: JSONBody[CancelReplay], context: ContextDependency) -> Replay:
    """Have a replay go no further. Runs that are under way go on."""
    return replay_view(await cancel_bulk(context, _job_id(job_id), by=OPERATOR, reason=data.reason))


@get("/dead-letters")
async def list_dead_letters(ops_settings: OpsSettings) -> DeadQueues:
    """Count the dead letters of every queue, with their reasons. Without a broker there are none."""
    if not ops_settings.broker.amqp_url:
        return DeadQueues(queues=[])
    async with open_dead_letters(ops_settings.broker.amqp_url) as letters:
        return DeadQueues(queues=await letters.overview())


@post("/dead-letters/{queue:str}/redrive", status_code=200)
async def redrive_dead_letters(
    queue: FromPath[str], data: JSONBody[Redrive], context: ContextDependency, ops_settings: OpsSettings
) -> Redriven:
    """Put dead letters back into the queue that they died in."""
    [name] = named(queue)
    if not ops_settings.broker.amqp_url:
        raise NoBrokerError
    async with open_dead_letters(ops_settings.broker.amqp_url) as letters:
        counts = await redrive_audited(context, letters, queue=name, limit=data.limit, by=OPERATOR, reason=data.reason)
    return Redriven(queue=name, messages=counts.get(name, 0))


def _run_id(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise RunNotFoundError(UUID(int=0)) from None


def _job_id(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise ReplayJobNotFoundError(UUID(int=0)) from None


def _in_zone(instant: dt.datetime | None) -> dt.datetime | None:
    """Take an instant that names no zone as UTC."""
    return instant.replace(tzinfo=dt.UTC) if instant is not None and instant.tzinfo is None else instant
