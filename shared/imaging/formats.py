"""Which format a file has, by its first bytes and nothing else: a name or a Content-Type is only a claim."""

import msgspec

from shared.imaging.limits import ImageRefused, Refusal

ANIMATED = "Animated pictures are not accepted. Send a single picture."
HEAD_BYTES = 64
"""How much of a file `recognise` wants to see."""

_PNG = b"\x89PNG\r\n\x1a\n"
_JPEG = b"\xff\xd8\xff"
_HEIC_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"}


class Format(msgspec.Struct, frozen=True):
    """A format we read. `loader` is libvips' operation for it, so that libvips never guesses."""

    name: str
    content_type: str
    loader: str


JPEG = Format("jpeg", "image/jpeg", "jpegload_source")
PNG = Format("png", "image/png", "pngload_source")
WEBP = Format("webp", "image/webp", "webpload_source")
AVIF = Format("avif", "image/avif", "heifload_source")


def recognise(head: bytes) -> Format:
    """Name the format of a file that starts with `head`. Raises ImageRefused where it is none of ours."""
    if head.startswith(_JPEG):
        return JPEG
    if head.startswith(_PNG):
        return PNG
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return WEBP
    brands = _brands(head)
    if b"avis" in brands:
        raise ImageRefused(Refusal.UNSUPPORTED_IMAGE, ANIMATED)
    if b"avif" in brands:
        return AVIF
    if brands & _HEIC_BRANDS:
        # libvips as packaged has no HEVC decoder (patents). A telephone asked for a JPEG hands one over.
        raise ImageRefused(Refusal.UNSUPPORTED_IMAGE, "HEIC photos cannot be read. Save the photo as a JPEG.")
    message = "The file is empty." if not head else "The file is not a picture in JPEG, PNG, WebP or AVIF format."
    raise ImageRefused(Refusal.UNSUPPORTED_IMAGE, message)


def _brands(head: bytes) -> set[bytes]:
    """Return the brands of an ISO media file: the major one, then, after a version number, the compatible ones."""
    if head[4:8] != b"ftyp":
        return set()
    end = min(int.from_bytes(head[:4]), len(head))
    return {head[8:12]} | {head[at : at + 4] for at in range(16, end, 4)}
