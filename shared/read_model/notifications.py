"""What a commit says over PostgreSQL's NOTIFY: which uploads changed, and to which version. Only a hint."""

from collections.abc import Iterable, Iterator
from uuid import UUID

CHANNEL = "darkroom_uploads"
MAX_BYTES = 7_900
"""PostgreSQL refuses a payload of 8000 bytes or more."""


def pack(changes: Iterable[tuple[UUID, int]]) -> list[str]:
    """Write (upload, version) pairs into as few payloads as hold them, all of them ASCII."""
    payloads: list[str] = []
    for upload_id, version in changes:
        pair = f"{upload_id.hex}:{version}"
        if payloads and len(payloads[-1]) + 1 + len(pair) <= MAX_BYTES:
            payloads[-1] += f" {pair}"
        else:
            payloads.append(pair)
    return payloads


def unpack(payload: str) -> Iterator[tuple[UUID, int]]:
    """Read a payload. Raises ValueError where it is not one of ours."""
    for pair in payload.split():
        upload_id, _, version = pair.partition(":")
        yield UUID(hex=upload_id), int(version)
