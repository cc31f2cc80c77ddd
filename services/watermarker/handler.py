"""ResultStored → PreviewWatermarked and ProcessingCompleted."""

from contracts.events import PreviewWatermarked, ProcessingCompleted, ResultStored
from services.watermarker.watermark import stamp
from shared.imaging import CpuPool, ImageRefused
from shared.stages.consumer import StageContext
from shared.storage.keys import preview_key
from shared.storage.port import ObjectStore
from shared.upload.errors import FinalFailure


async def watermark_preview(
    event: ResultStored, context: StageContext, *, objects: ObjectStore, cpu: CpuPool
) -> tuple[PreviewWatermarked, ProcessingCompleted]:
    """Stamp the result and say where the stamped bytes are: the end of the run. Raises FinalFailure on a broken one."""
    data = await objects.get(event.result_key)
    try:
        preview = await cpu.run(stamp, data)
    except ImageRefused as refused:
        raise FinalFailure("RESULT_BROKEN", "The finished picture could not be read.", replayable=True) from refused
    key = preview_key(event.upload_id, event.result_id)
    await objects.put(key, preview.data, preview.content_type)
    watermarked = context.build(
        PreviewWatermarked,
        preview_key=key,
        content_type=preview.content_type,
        width=preview.width,
        height=preview.height,
        size_bytes=len(preview.data),
    )
    return watermarked, context.build(ProcessingCompleted, result_id=event.result_id, preview_key=key)
