"""ProcessingRequested → ImageValidated, or a final failure where the original is no picture that we take."""

from contracts.events import ImageValidated, ProcessingRequested
from services.validator.checks import check
from shared.imaging import CpuPool, ImageRefused
from shared.stages.consumer import StageContext
from shared.storage.port import ObjectStore
from shared.upload.errors import FinalFailure


async def validate_image(
    event: ProcessingRequested, context: StageContext, *, objects: ObjectStore, cpu: CpuPool
) -> ImageValidated:
    """Decode the whole original. Raises FinalFailure with the refusal's code."""
    data = await objects.get(event.original_key)
    try:
        seen = await cpu.run(check, data)
    except ImageRefused as refused:
        raise FinalFailure(refused.code, refused.message) from refused
    return context.build(
        ImageValidated,
        original_key=event.original_key,
        width=seen.width,
        height=seen.height,
        format=seen.format,
        sha256=seen.sha256,
        size_bytes=seen.size_bytes,
    )
