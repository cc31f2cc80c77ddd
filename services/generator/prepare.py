"""What the AI provider gets to see: upright, no larger than is of use, without what the camera wrote into it."""

from shared.imaging.codec import open_fitted, to_jpeg

LONGEST_SIDE = 3072
"""Pixels. Gemini scales larger photos down itself, and refuses a request of more than 20 MB."""
QUALITY = 92
CONTENT_TYPE = "image/jpeg"


def prepare(photo: bytes) -> bytes:
    """Return the photo as a JPEG without metadata: where it was taken is nobody's business. Raises ImageRefused."""
    return to_jpeg(open_fitted(photo, LONGEST_SIDE), QUALITY)
