"""What a picture must be to be accepted. Every refusal has a stable code and a sentence fit for a person."""

import enum

import msgspec

MIN_SIDE = 64
"""Pixels of the shortest side."""
MAX_SIDE = 65_535
"""Pixels of the longest side, which is what JPEG knows. A decoder holds some rows whole, however long they are."""
MAX_PIXELS = 50_000_000
"""Width times height."""
MAX_BYTES_HELD = 200_000_000
"""What a decoder may hold at a time: some pictures cannot be decoded line by line and are in memory whole."""


class Refusal(enum.StrEnum):
    """Why a picture is refused. The names are part of the HTTP API and of events."""

    UNSUPPORTED_IMAGE = "UNSUPPORTED_IMAGE"
    IMAGE_TOO_SMALL = "IMAGE_TOO_SMALL"
    IMAGE_TOO_LARGE = "IMAGE_TOO_LARGE"
    IMAGE_CORRUPT = "IMAGE_CORRUPT"


class ImageRefused(Exception):  # noqa: N818 — named for the fact, like the domain's refusals
    """The picture is not accepted, and would not be the next time. `message` is fit for a person."""

    def __init__(self, code: Refusal, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message


class ImageHeader(msgspec.Struct, frozen=True):
    """What a picture says of itself, read without decoding it. Sides are in pixels, as a viewer shows them (turned)."""

    width: int
    height: int
    format: str
    content_type: str


def check_size(width: int, height: int, bytes_held_per_pixel: int) -> None:
    """Refuse a picture that is too small to be of use, or too large to be decoded in bounded memory."""
    if min(width, height) < MIN_SIDE:
        message = f"The picture is {width} by {height} pixels; each side needs at least {MIN_SIDE}."
        raise ImageRefused(Refusal.IMAGE_TOO_SMALL, message)
    if max(width, height) > MAX_SIDE:
        message = f"The picture is {width} by {height} pixels; a side may have at most {MAX_SIDE}."
        raise ImageRefused(Refusal.IMAGE_TOO_LARGE, message)
    pixels = width * height
    if pixels > MAX_PIXELS:
        raise ImageRefused(Refusal.IMAGE_TOO_LARGE, f"{_has_more_than(pixels, MAX_PIXELS)} are accepted.")
    if pixels * bytes_held_per_pixel > MAX_BYTES_HELD:
        message = (
            f"{_has_more_than(pixels, MAX_BYTES_HELD // bytes_held_per_pixel)} are accepted of one that is saved "
            "this way (progressive, interlaced or AVIF). Save it as a plain JPEG."
        )
        raise ImageRefused(Refusal.IMAGE_TOO_LARGE, message)


def _has_more_than(pixels: int, limit: int) -> str:
    # What it has is rounded up and what it may have down: it must not read "has 50, at most 50".
    has, may_have = -(-pixels // 100_000) / 10, limit // 100_000 / 10
    return f"The picture has {has:g} megapixels; at most {may_have:g}"
