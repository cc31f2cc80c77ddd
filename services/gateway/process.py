"""POST /api/process: the run is recorded, and that is all: its stages hear of it from the outbox, broker up or down."""

from typing import Annotated
from uuid import UUID

import uuid_utils.compat
from litestar import post
from litestar.params import Parameter
from psycopg import OperationalError
from psycopg_pool import PoolTimeout

from contracts.http import ProcessAccepted, ProcessRequest
from services.gateway.access import as_upload_id, own_upload
from services.gateway.parts import Reads, Store
from services.gateway.problems import WorkflowTriggerError
from services.gateway.sessions import HEADER, token_present
from shared.eventstore.group_commit import ConflictError, StoreUnavailableError
from shared.eventstore.store import utc_now
from shared.upload.decisions import request_processing, request_replay, run_of
from shared.upload.errors import NotReplayableError

TRIGGER_WAIT = 1.5
"""Seconds that a start waits for the database; the answer is due within two."""

SessionToken = Annotated[str, Parameter(header=HEADER)]


@post("/api/process", status_code=202, guards=[token_present])
async def start_processing(
    data: ProcessRequest, session_token: SessionToken, store: Store, reads: Reads
) -> ProcessAccepted:
    """Start the run of an upload, once. Of two calls at the same moment one gets the 202, the other the 409."""
    try:
        while True:
            row = await own_upload(reads, data.upload_id, session_token)
            event = request_processing(
                row.pending_upload(), workflow_run_id=uuid_utils.compat.uuid7(), now=utc_now()
            )
            try:
                await store.append(event, wait=TRIGGER_WAIT)
            except ConflictError:
                continue
            return ProcessAccepted(job_id=data.upload_id, workflow_run_id=event.workflow_run_id)
    except (OperationalError, PoolTimeout, StoreUnavailableError) as error:
        raise WorkflowTriggerError from error


@post("/api/process/{job_id:str}/retry", status_code=202, guards=[token_present])
async def retry_processing(
    job_id: str, session_token: SessionToken, store: Store, reads: Reads
) -> ProcessAccepted:
    """Resume a failed run at the stage that failed, where the failure may pass; what was made before is kept."""
    upload_id = as_upload_id(job_id)
    try:
        return await _retry(upload_id, session_token, store, reads)
    except (OperationalError, PoolTimeout, StoreUnavailableError) as error:
        raise WorkflowTriggerError from error


async def _retry(upload_id: UUID, session_token: str, store: Store, reads: Reads) -> ProcessAccepted:
    await own_upload(reads, upload_id, session_token)
    while True:
        upload = await store.load(upload_id, wait=TRIGGER_WAIT)
        if upload.failure is not None and not upload.failure.retryable:
            raise NotReplayableError(upload.id, upload.status, "the failure is final")
        event = request_replay(upload, from_stage=None, requested_by="user", reason="asked to try again", now=utc_now())
        try:
            await store.append(event, wait=TRIGGER_WAIT)
        except ConflictError:
            continue
        return ProcessAccepted(job_id=upload_id, workflow_run_id=run_of(upload))
