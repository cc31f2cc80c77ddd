"""ImageGenerated → ResultStored: the picture gets its final key and its result id."""

from contracts.events import ImageGenerated, ResultStored
from shared.stages.consumer import StageContext
from shared.storage.keys import result_id, result_key
from shared.storage.port import ObjectStore


async def store_result(event: ImageGenerated, context: StageContext, *, objects: ObjectStore) -> ResultStored:
    """Copy the generated picture, within the store, to where results lie; the same id and key at every delivery."""
    name = result_id(event.workflow_run_id, event.generation)
    key = result_key(event.upload_id, name)
    await objects.copy(event.generated_key, key)
    return context.build(
        ResultStored,
        result_id=name,
        result_key=key,
        content_type=event.content_type,
        width=event.width,
        height=event.height,
        size_bytes=event.size_bytes,
    )
