"""The floor of the gateway: an empty handler of the same framework on the same server. A script; argument: a port."""

import asyncio
import sys
from typing import Annotated
from uuid import UUID

import uvloop
from granian.constants import Interfaces
from granian.server.embed import Server
from litestar import Litestar, get, post
from litestar.params import Parameter

from contracts.http import ProcessAccepted, ProcessRequest

Token = Annotated[str, Parameter(header="X-Session-Token")]
_RUN = UUID(int=1)


@post("/api/process", status_code=202)
async def start(data: ProcessRequest, token: Token) -> ProcessAccepted:
    return ProcessAccepted(job_id=data.upload_id, workflow_run_id=_RUN)


@get("/api/status/{job_id:str}")
async def status(job_id: str, token: Token) -> ProcessAccepted:
    return ProcessAccepted(job_id=UUID(job_id), workflow_run_id=_RUN)


@get("/health/ready")
async def ready() -> None:
    return None


async def serve(port: int) -> None:
    app = Litestar([start, status, ready], openapi_config=None, logging_config=None)
    await Server(app, port=port, interface=Interfaces.ASGI, websockets=False, log_enabled=False).serve()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(int(sys.argv[1])))
