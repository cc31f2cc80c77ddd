"""Every object key, derived from ids alone: work that is done twice writes the same object twice."""

from uuid import UUID, uuid5

_RESULTS = UUID("7f0c4b1e-52c8-4d0e-9a57-3d8b1f6f2a90")  # never changes: result ids hang on it

_FOLDERS = ("incoming", "originals", "generated", "results", "previews")


def prefixes_of(upload_id: UUID) -> tuple[str, ...]:
    """Return the prefixes under which every object of an upload lies, whatever made it, and no other upload's."""
    return tuple(f"{folder}/{upload_id}" for folder in _FOLDERS)


def upload_prefixes_of(upload_id: UUID) -> tuple[str, ...]:
    """Return those of them under which the photo itself lies, as it came and as it was copied."""
    return prefixes_of(upload_id)[:2]


def is_own(upload_id: UUID, key: str) -> bool:
    """Return whether a key is one that this upload's objects may have: one of those below, and nobody else's."""
    folder, _, rest = key.partition("/")
    owner, *names = rest.split("/")
    return folder in _FOLDERS and owner == str(upload_id) and not {"", ".", ".."} & set(names)


def original_key(upload_id: UUID) -> str:
    """Where the photo lies as it was uploaded."""
    return f"originals/{upload_id}"


def incoming_key(upload_id: UUID) -> str:
    """Where a client writes a photo itself; until its URL expires it may write there again."""
    return f"incoming/{upload_id}"


def checked_key(upload_id: UUID, copy: UUID) -> str:
    """Where the copy of such a photo lies that was looked at, which no client can write. Each look has its own."""
    return f"originals/{upload_id}/{copy}"


def generated_key(upload_id: UUID, workflow_run_id: UUID, generation: int) -> str:
    """Where the provider's picture lies; `generation` counts from 1 within a run, so that none replaces another."""
    return f"generated/{upload_id}/{workflow_run_id}/{generation}"


def result_id(workflow_run_id: UUID, generation: int) -> UUID:
    """Name the result of one generation; the same at every delivery."""
    return uuid5(_RESULTS, f"{workflow_run_id}/{generation}")


def result_key(upload_id: UUID, result_id: UUID) -> str:
    """Where the finished picture lies."""
    return f"results/{upload_id}/{result_id}"


def preview_key(upload_id: UUID, result_id: UUID) -> str:
    """Where the watermarked preview lies, always a JPEG."""
    return f"previews/{upload_id}/{result_id}.jpg"
