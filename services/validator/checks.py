"""An original's bytes in; what it is, once it has been decoded to the last byte, or a refusal."""

import hashlib

import msgspec

from shared.imaging.codec import decode_all, read_header


class CheckedImage(msgspec.Struct, frozen=True):
    """A picture that is within limits and decodes to its end. Sides in pixels as shown, size in bytes."""

    width: int
    height: int
    format: str
    sha256: str
    size_bytes: int


def check(data: bytes) -> CheckedImage:
    """Look at the header first, because decoding is what a hostile picture is after. Raises ImageRefused."""
    header = read_header(data)
    decode_all(data)
    return CheckedImage(
        width=header.width,
        height=header.height,
        format=header.format,
        sha256=hashlib.sha256(data).hexdigest(),
        size_bytes=len(data),
    )
