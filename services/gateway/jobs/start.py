"""POST /api/process: the run is recorded, and that is all: its stages hear of it from the outbox, broker up or down."""

import asyncio
from collections.abc import Callable
from typing import Any

import uuid_utils.compat
from litestar import Request, post
from psycopg import OperationalError
from psycopg_pool import PoolTimeout

from contracts.http import ProcessAccepted, ProcessRequest
from services.gateway.dependencies import Reads, Store
from services.gateway.http.bodies import json_only, read_json
from services.gateway.http.checks import checks
from services.gateway.http.ownership import as_upload_id, own_upload
from services.gateway.http.problems import WorkflowTriggerError
from services.gateway.http.rate_limits import process_rate
from services.gateway.http.sessions import SessionToken, token_present
from services.gateway.jobs.dependencies import Jobs
from services.gateway.openapi.document import OWNER, described, json_body
from services.gateway.openapi.examples import ACCEPTED, PROCESS
from services.gateway.openapi.parameters import JobId
from services.gateway.openapi.problem_responses import problems
from shared.clock import utc_now
from shared.eventstore.group_commit import ConflictError, StoreUnavailableError
from shared.upload.decisions import request_processing, request_retry, run_id_of

TRIGGER_WAIT = 1.4
"""Seconds that a start has for the database in all; with the check of its rate, the answer is due within two."""

_AWAY = (OperationalError, PoolTimeout, TimeoutError, StoreUnavailableError)


@post(
    "/api/process",
    operation_id="startProcessing",
    summary="Start the processing of an upload",
    description="Starts the one run of a pending upload. `jobId` is the upload's id: see `/api/status/{jobId}`.",
    tags=["Jobs"],
    status_code=202,
    response_description="The run is recorded and will end: `completed`, or `failed` with a reason.",
    before_request=checks(token_present, process_rate, json_only),
    operation_class=described(ACCEPTED, body=json_body(PROCESS)),
    security=OWNER,
    responses=problems(
        "INVALID_REQUEST",
        "INVALID_SESSION_TOKEN",
        "UPLOAD_NOT_FOUND",
        "REQUEST_TIMEOUT",
        "ALREADY_PROCESSING",
        "REQUEST_TOO_LARGE",
        "UNSUPPORTED_MEDIA_TYPE",
        "RATE_LIMITED",
        "WORKFLOW_TRIGGER_FAILED",
    ),
)
async def start_processing(request: Request[Any, Any, Any], session_token: SessionToken, jobs: Jobs) -> ProcessAccepted:
    """Start the run of an upload, once. Of two calls at the same moment one gets the 202, the other the 409."""
    data = await read_json(request, ProcessRequest)
    left = _countdown(TRIGGER_WAIT)
    try:
        while True:
            row = await own_upload(jobs.reads, data.upload_id, session_token, wait=left())
            event = request_processing(row.pending_upload(), workflow_run_id=uuid_utils.compat.uuid7(), now=utc_now())
            try:
                await jobs.store.append(event, wait=left())
            except ConflictError:
                continue
            return ProcessAccepted(job_id=data.upload_id, workflow_run_id=event.workflow_run_id)
    except _AWAY as error:
        raise WorkflowTriggerError from error


@post(
    "/api/process/{jobId:str}/retry",
    operation_id="retryProcessing",
    summary="Try a failed job again",
    description=(
        "Resumes a failed run at the stage that failed, where `error.retryable` said that this may help."
        " What was made before is kept. How often is bounded: `error.retryable` is false once the bound is reached."
    ),
    tags=["Jobs"],
    status_code=202,
    response_description="The run goes on, as its next attempt.",
    before_request=checks(token_present, process_rate),
    operation_class=described(ACCEPTED),
    security=OWNER,
    responses=problems(
        "INVALID_REQUEST",
        "INVALID_SESSION_TOKEN",
        "UPLOAD_NOT_FOUND",
        "NOT_RETRYABLE",
        "RATE_LIMITED",
        "WORKFLOW_TRIGGER_FAILED",
    ),
)
async def retry_processing(job_id: JobId, session_token: SessionToken, store: Store, reads: Reads) -> ProcessAccepted:
    """Resume a failed run at the stage that failed, where the failure may pass; what was made before is kept."""
    upload_id = as_upload_id(job_id)
    left = _countdown(TRIGGER_WAIT)
    try:
        await own_upload(reads, upload_id, session_token, wait=left())
        while True:
            upload = await store.load(upload_id, wait=left())
            event = request_retry(upload, now=utc_now())
            try:
                await store.append(event, wait=left())
            except ConflictError:
                continue
            return ProcessAccepted(job_id=upload_id, workflow_run_id=run_id_of(upload))
    except _AWAY as error:
        raise WorkflowTriggerError from error


def _countdown(seconds: float) -> Callable[[], float]:
    """Return a function that says how many of the seconds are left, and never less than none."""
    deadline = asyncio.get_running_loop().time() + seconds
    return lambda: max(0.0, deadline - asyncio.get_running_loop().time())
