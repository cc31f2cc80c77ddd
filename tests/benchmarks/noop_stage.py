"""A stage that does nothing but its part of the saga: all of it real except the picture. A script; argument: a queue.

The generator's claims its call as the real one does.
"""

import asyncio
import datetime as dt
import sys

from contracts.events import (
    ImageGenerated,
    ImageValidated,
    PreviewWatermarked,
    ProcessingCompleted,
    ResultStored,
)
from services.cli.console import run, settings_or_exit
from shared.bootstrap import rabbit_runtime, stop_on_signals
from shared.storage.keys import generated_key, preview_key, result_id, result_key
from shared.upload.saga import STAGE_OF_QUEUE

_PICTURE = {"content_type": "image/jpeg", "width": 1600, "height": 1067, "size_bytes": 412_345}
_LEASE = dt.timedelta(seconds=180)


async def validate(event, context):
    return context.build(
        ImageValidated,
        original_key=event.original_key,
        width=6000,
        height=4000,
        format="jpeg",
        sha256="0" * 64,
        size_bytes=5_123_456,
    )


async def generate(event, context):
    await context.claim_call(worker="noop", lease=_LEASE, max_unknown=2)
    generation = context.generations + 1
    key = generated_key(event.upload_id, event.workflow_run_id, generation)
    return context.build(
        ImageGenerated, generated_key=key, generation=generation, provider="local", model="noop", **_PICTURE
    )


async def store(event, context):
    name = result_id(event.workflow_run_id, event.generation)
    return context.build(ResultStored, result_id=name, result_key=result_key(event.upload_id, name), **_PICTURE)


async def watermark(event, context):
    key = preview_key(event.upload_id, event.result_id)
    watermarked = context.build(PreviewWatermarked, preview_key=key, **_PICTURE)
    return watermarked, context.build(ProcessingCompleted, result_id=event.result_id, preview_key=key)


HANDLERS = {"validator": validate, "generator": generate, "storer": store, "watermarker": watermark}


async def serve(name: str) -> None:
    """Run the stage as `darkroom serve` does, until SIGTERM."""
    stop = asyncio.Event()
    stop_on_signals(stop)
    runtime = rabbit_runtime(settings_or_exit(), public_url="http://127.0.0.1")
    runtime.attach_stage(STAGE_OF_QUEUE[name], HANDLERS[name])
    await runtime.run(stop)


if __name__ == "__main__":
    run(serve(sys.argv[1]))
