"""ImageValidated → ImageGenerated. The one stage that costs money: look for the picture, claim the call, call once."""

import asyncio
import datetime as dt

import msgspec

from contracts.events import ImageGenerated, ImageValidated
from services.generator.prepare import CONTENT_TYPE, prepare
from services.generator.provider import GeneratedImage, Provider
from shared.imaging import CpuPool, ImageHeader, ImageRefused, read_header
from shared.stages.consumer import StageContext
from shared.storage.keys import generated_key
from shared.storage.port import ObjectStore
from shared.upload.errors import FinalFailure, RetryableFailure


class CallPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """Who calls, how long a call may take in seconds, and how many calls of unknown outcome a run gets over."""

    worker: str
    timeout: float
    max_unknown: int

    @property
    def give_up(self) -> float:
        """Seconds after which a call is abandoned that did not keep its own time-out."""
        return self.timeout * 1.1 + 1

    @property
    def lease(self) -> dt.timedelta:
        """How long a call is claimed for: until it is given up, and a little more to put the picture away."""
        return dt.timedelta(seconds=self.timeout * 1.2 + 2)


async def generate_picture(
    event: ImageValidated,
    context: StageContext,
    *,
    objects: ObjectStore,
    cpu: CpuPool,
    provider: Provider,
    policy: CallPolicy,
) -> ImageGenerated:
    """Have the provider draw a picture, unless an earlier call of this run has left one.

    The picture lies under its key before the event says so: a crash in between costs a look, not a second call.
    """
    generation = context.generations + 1
    key = generated_key(event.upload_id, event.workflow_run_id, generation)
    picture = await _left_behind(objects, key) if context.calls else None
    if picture is None:
        photo = await _photo(objects, event.original_key, cpu)
        await context.claim_call(worker=policy.worker, lease=policy.lease, max_unknown=policy.max_unknown)
        async with asyncio.timeout(policy.give_up):
            picture = await provider.generate(photo, CONTENT_TYPE)
        header = _header(picture)
        await objects.put(key, picture.data, picture.content_type)
    else:
        header = _header(picture)
    return context.build(
        ImageGenerated,
        generated_key=key,
        generation=generation,
        provider=provider.name,
        model=provider.model,
        content_type=picture.content_type,
        width=header.width,
        height=header.height,
        size_bytes=len(picture.data),
    )


async def _photo(objects: ObjectStore, key: str, cpu: CpuPool) -> bytes:
    try:
        return await cpu.run(prepare, await objects.get(key))
    except ImageRefused as refused:
        raise FinalFailure(refused.code, refused.message) from refused


async def _left_behind(objects: ObjectStore, key: str) -> GeneratedImage | None:
    """Return what an earlier call drew and put away before its worker died, or None."""
    info = await objects.head(key)
    if info is None:
        return None
    return GeneratedImage(data=await objects.get(key), content_type=info.content_type)


def _header(picture: GeneratedImage) -> ImageHeader:
    """Read the picture's size. A broken one is not put away: the next try would find it and fail again."""
    try:
        return read_header(picture.data)
    except ImageRefused as refused:
        raise RetryableFailure("PROVIDER_BROKEN_IMAGE", "The picture came back broken.") from refused
