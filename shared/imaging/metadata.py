"""What a file carries beside its pixels, bounded before a decoder sees it.

Decoders unpack and keep metadata whole, whoever reads the picture: a PNG of 0.8 MB may hold 1.5 GiB of text, a JPEG of
45 MB nine million segments. Only the orientation and the colour profile are of use here. A file with much beside them
goes on without it; one with more pieces than any honest writer makes is refused. Nothing is unpacked to find out.
"""

import re
import zlib
from collections.abc import Iterator
from mmap import mmap

from shared.imaging import formats
from shared.imaging.limits import ImageRefused, Refusal

MAX_PIECES = 20_000
"""Chunks or segments of a file; a PNG of 50 MB in pieces of 8 kB, as libpng writes it, has 6,400."""
MAX_METADATA = 4 * 1024 * 1024
"""Bytes that metadata may unpack to before it is left out; the depth map of a telephone's photo may have a few."""
MAX_PROFILE = 4 * 1024 * 1024
MAX_EXIF = 1024 * 1024
"""Bytes of a colour profile, unpacked, and of a PNG's EXIF; larger ones are left out."""
_DEFLATE_RATIO = 1032
"""What a byte of deflated data unpacks to, at most."""

Buffer = bytes | mmap
Span = tuple[int, int]


def without_metadata(data: Buffer, fmt: formats.Format, *, header_only: bool = False) -> bytes | None:
    """Return the file without its metadata where that is large, and None where the file is fine as it is.

    `header_only` leaves out what follows the header of the pixels, too. Raises ImageRefused over MAX_PIECES.
    """
    if fmt == formats.PNG:
        return _lighter_png(data, header_only=header_only)
    if fmt == formats.JPEG:
        return _lighter_jpeg(data, header_only=header_only)
    if fmt == formats.WEBP:
        _count(_riff_chunks(data))
    return None


def _count(pieces: Iterator[object]) -> None:
    for number, _ in enumerate(pieces):
        _check_count(number)


def _check_count(number: int) -> None:
    if number > MAX_PIECES:
        raise ImageRefused(Refusal.UNSUPPORTED_IMAGE, "The file is made of too many pieces. Save it again.")


def _joined(data: Buffer, spans: list[Span]) -> bytes:
    return b"".join([data[start:end] for start, end in spans])


# PNG

_PNG_HEAD = 8
_PNG_PIXELS = frozenset({b"IHDR", b"PLTE", b"IDAT", b"IEND", b"tRNS"})
_PNG_ONCE = frozenset({b"gAMA", b"cHRM", b"sRGB", b"cICP", b"sBIT", b"iCCP", b"eXIf"})
"""Chunks that say how pixels look. Each stands once; a decoder warns of every other."""
_HEADER_PIXELS = 64 * 1024
"""Bytes of coded pixels that are left after a header which is all that is read."""


def _lighter_png(data: Buffer, *, header_only: bool) -> bytes | None:
    kept: list[Span] = [(0, _PNG_HEAD)]
    seen: set[bytes] = set()
    unpacked, spare = 0, False
    for number, (kind, start, end) in enumerate(_png_chunks(data)):
        _check_count(number)
        if kind in _PNG_PIXELS or (kind in _PNG_ONCE and kind not in seen and _is_small_png(data, kind, start, end)):
            kept.append((start, end))
            seen.add(kind)
        elif kind in _PNG_ONCE:
            spare = True
        else:
            unpacked += _unpacked(data, kind, start, end)
        if header_only and kind == b"IDAT":
            kept[-1] = (start, min(end, start + _HEADER_PIXELS))
            break
    return _joined(data, kept) if spare or unpacked > MAX_METADATA else None


def _png_chunks(data: Buffer) -> Iterator[tuple[bytes, int, int]]:
    """Name each chunk's type, start and end; what is cut off ends with the file."""
    at, size = _PNG_HEAD, len(data)
    while at + 8 <= size:
        end = min(at + 12 + int.from_bytes(data[at : at + 4]), size)
        kind = data[at + 4 : at + 8]
        yield kind, at, end
        if kind == b"IEND":
            return
        at = end


def _is_small_png(data: Buffer, kind: bytes, start: int, end: int) -> bool:
    if kind == b"eXIf":
        return end - start <= MAX_EXIF
    if kind != b"iCCP":
        return True
    _, _, packed = data[start + 8 : end - 4].partition(b"\0")
    unpacker = zlib.decompressobj()
    try:
        unpacker.decompress(packed[1:], MAX_PROFILE)
    except zlib.error:
        return False
    return not unpacker.unconsumed_tail


def _unpacked(data: Buffer, kind: bytes, start: int, end: int) -> int:
    """Return what a chunk of text, or of anything, unpacks to at most."""
    if kind == b"zTXt":
        return (end - start) * _DEFLATE_RATIO
    if kind == b"iTXt":
        _, _, rest = data[start + 8 : min(end, start + 8 + 96)].partition(b"\0")
        return (end - start) * (_DEFLATE_RATIO if rest[:1] != b"\0" else 1)
    return end - start


# JPEG

_MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")
_SOI, _EOI, _SOS, _COM = 0xD8, 0xD9, 0xDA, 0xFE
_APP0, _APP1, _APP2, _APP14, _APP15 = 0xE0, 0xE1, 0xE2, 0xEE, 0xEF
_NO_LENGTH = frozenset({0x01, _SOI, _EOI})


def _lighter_jpeg(data: Buffer, *, header_only: bool) -> bytes | None:
    """Leave comments and application segments out, but for the first JFIF, EXIF and Adobe ones and a small profile."""
    dropped: list[Span] = []
    seen: set[bytes] = set()
    large, profile = 0, 0
    for number, (marker, start, end) in enumerate(_jpeg_segments(data)):
        _check_count(number)
        if header_only and marker == _SOS:
            break
        if marker != _COM and not _APP0 <= marker <= _APP15:
            continue
        name = _segment_name(data, marker, start)
        if name == b"ICC_PROFILE" and profile + end - start <= MAX_PROFILE:
            profile += end - start
        elif name and name != b"ICC_PROFILE" and name not in seen:
            seen.add(name)
        else:
            dropped.append((start, end))
            large += end - start + _SEGMENT_COST
    return _joined(data, _between(dropped, len(data))) if large > MAX_METADATA else None


_SEGMENT_COST = 128
"""Bytes that a decoder keeps for a segment beside what is in it."""


def _segment_name(data: Buffer, marker: int, start: int) -> bytes:
    """Return the name of a segment that is of use here, and nothing for any other."""
    head = data[start + 4 : start + 18]
    match marker:
        case 0xE0 if head.startswith((b"JFIF\0", b"JFXX\0")):
            return head[:4]
        case 0xE1 if head.startswith(b"Exif\0"):
            return b"Exif"
        case 0xE2 if head.startswith(b"ICC_PROFILE\0"):
            return b"ICC_PROFILE"
        case 0xEE if head.startswith(b"Adobe"):
            return b"Adobe"
        case _:
            return b""


def _jpeg_segments(data: Buffer) -> Iterator[tuple[int, int, int]]:
    """Name each segment's marker, start and end, as a decoder finds them: also between scans, and up to the end."""
    at = 0
    while (found := _MARKER.search(data, at)) is not None:
        start, marker = found.start(), data[found.start() + 1]
        end = start + 2 if marker in _NO_LENGTH else start + 2 + int.from_bytes(data[start + 2 : start + 4])
        yield marker, start, min(end, len(data))
        if marker == _EOI:
            return
        at = max(end, start + 2)


def _between(dropped: list[Span], size: int) -> list[Span]:
    """Return what is left of a file without these spans."""
    starts = [0, *(end for _, end in dropped)]
    ends = [*(start for start, _ in dropped), size]
    return list(zip(starts, ends, strict=True))


# WebP


def _riff_chunks(data: Buffer) -> Iterator[int]:
    at, size = 12, len(data)
    while at + 8 <= size:
        yield at
        length = int.from_bytes(data[at + 4 : at + 8], "little")
        at += 8 + length + length % 2
