"""Files in, libvips pictures out, and back: every decoding of a stranger's bytes goes through here."""

import contextlib
from collections.abc import Iterator
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import TypeVar, cast

import pyvips

from shared.imaging import formats, libvips  # noqa: F401 — importing libvips is what makes loading safe
from shared.imaging.limits import ImageHeader, ImageRefused, Refusal, check_size
from shared.imaging.metadata import without_metadata

T = TypeVar("T")

# Broken or missing picture data is an error; a mere warning (stray bytes between segments, an odd profile) is not:
# cameras and telephones write such files every day and every viewer shows them.
_FAIL_ON = "error"

_SHRINK_ON_LOAD: dict[formats.Format, dict[str, float]] = {formats.JPEG: {"shrink": 8}, formats.WEBP: {"scale": 1 / 8}}

# Measured: libaom and libheif hold this much for each pixel while they decode, with 8 bits (4:2:0) and with more.
_AVIF_BYTES_HELD, _DEEP_AVIF_BYTES_HELD = 16, 24
_JPEG_COEFFICIENT_BYTES = 2
_FIRST_SIDEWAYS_ORIENTATION = 5

_PAPER = [255, 255, 255]
_DAMAGED = "The picture is damaged or incomplete."


def read_header(source: bytes | Path) -> ImageHeader:
    """Return what the picture is, from its first bytes and its header; no pixel is decoded, whatever its size.

    Raises ImageRefused where it is no picture of ours, outside the limits, animated, or its header is broken.
    """
    fmt = formats.recognise(_head(source))
    with _refuse_damage():
        return _header(_load(_light_header(source, fmt), fmt), fmt)


def decode_all(source: bytes) -> None:
    """Read the picture to its last coded byte, line by line. Raises ImageRefused where something is missing or broken.

    JPEG and WebP are decoded into a smaller picture: the decoder still goes through every coded bit, which is the part
    that can fail, and saves the arithmetic (JPEG) and the memory (WebP) of full-size pixels.
    """
    fmt = formats.recognise(_head(source))
    source = without_metadata(source, fmt) or source
    with _refuse_damage():
        # An average needs every pixel and keeps none.
        _load(source, fmt, **_SHRINK_ON_LOAD.get(fmt, {})).avg()


def open_fitted(source: bytes, longest: int) -> pyvips.Image:
    """Decode into 8-bit sRGB without alpha, upright, at most `longest` pixels on either side, never enlarged.

    Full-size pixels never exist; the small ones are in memory when this returns. Raises ImageRefused.
    """
    read_header(source)
    source = without_metadata(source, formats.recognise(_head(source))) or source
    with _refuse_damage():
        picture = pyvips.Image.thumbnail_source(
            pyvips.Source.new_from_memory(source),
            longest,
            height=longest,
            size="down",
            # Handed to the loader so, because the thumbnail's own fail_on does nothing (libvips 8.18).
            option_string=f"[fail_on={_FAIL_ON}]",
        )
        for step in (_leave_profile, _to_srgb, _lay_on_paper, _to_8_bits):
            picture = step(picture)
        return cast("pyvips.Image", picture.copy_memory())


def to_jpeg(image: pyvips.Image, quality: int) -> bytes:
    """Encode a picture as JPEG with nothing but pixels in it: no EXIF, no GPS, no XMP, no profile (it is sRGB)."""
    return cast("bytes", image.jpegsave_buffer(Q=quality, keep="none", optimize_coding=True))


@contextlib.contextmanager
def _refuse_damage() -> Iterator[None]:
    """Turn what libvips says of broken data into a refusal; its own words stay in the cause, for the log."""
    try:
        yield
    except pyvips.Error as error:
        raise ImageRefused(Refusal.IMAGE_CORRUPT, _DAMAGED) from error


def _head(source: bytes | Path) -> bytes:
    if isinstance(source, bytes):
        return source[: formats.HEAD_BYTES]
    with source.open("rb") as file:
        return file.read(formats.HEAD_BYTES)


def _light_header(source: bytes | Path, fmt: formats.Format) -> bytes | Path:
    """Return the source, or its header alone where there is much metadata around it."""
    if isinstance(source, bytes):
        return without_metadata(source, fmt, header_only=True) or source
    with source.open("rb") as file, mmap(file.fileno(), 0, access=ACCESS_READ) as mapped:
        return without_metadata(mapped, fmt, header_only=True) or source


def _load(source: bytes | Path, fmt: formats.Format, **options: float) -> pyvips.Image:
    # A Source reads our bytes where they are; the loaders that take a buffer copy it first.
    if isinstance(source, bytes):
        opened = pyvips.Source.new_from_memory(source)
    else:
        opened = pyvips.Source.new_from_file(str(source))
    return cast(
        "pyvips.Image",
        pyvips.Operation.call(fmt.loader, opened, access="sequential", fail_on=_FAIL_ON, **options),
    )


def _header(image: pyvips.Image, fmt: formats.Format) -> ImageHeader:
    width, height = image.width, image.height
    # Pages would be one below the other; a film strip or the first frame would both be another picture than was sent.
    if image.get_n_pages() > 1:
        raise ImageRefused(Refusal.UNSUPPORTED_IMAGE, formats.ANIMATED)
    check_size(width, height, _bytes_held_per_pixel(image, fmt))
    if _metadata(image, "orientation", 1) >= _FIRST_SIDEWAYS_ORIENTATION:
        width, height = height, width
    return ImageHeader(width, height, fmt.name, fmt.content_type)


def _bytes_held_per_pixel(image: pyvips.Image, fmt: formats.Format) -> int:
    """Return how much the decoder holds for each pixel where it cannot go line by line, or 0 where it can."""
    if fmt == formats.AVIF:
        return _DEEP_AVIF_BYTES_HELD if image.format == "ushort" else _AVIF_BYTES_HELD
    if fmt == formats.PNG and _metadata(image, "interlaced", 0):
        # The pixels, and an eighth of them again while they are turned into what is wanted.
        return int(image.bands) * (2 if image.format == "ushort" else 1) + 1
    if fmt != formats.JPEG or not _metadata(image, "jpeg-multiscan", 0):
        return 0
    # A JPEG in several scans keeps all its coefficients; with 4:2:0 the two colour planes count a quarter each.
    quarters = 6 if _metadata(image, "jpeg-chroma-subsample", "") == "4:2:0" else 4 * int(image.bands)
    return _JPEG_COEFFICIENT_BYTES * quarters // 4


def _metadata(image: pyvips.Image, field: str, default: T) -> T:
    return cast("T", image.get(field)) if image.get_typeof(field) else default


def _leave_profile(image: pyvips.Image) -> pyvips.Image:
    # After shrinking, because fewer pixels are left to convert. The thumbnail has dealt with CMYK; libvips takes sRGB
    # where a profile is unusable.
    return image.icc_transform("srgb", embedded=True) if image.get_typeof("icc-profile-data") else image


def _to_srgb(image: pyvips.Image) -> pyvips.Image:
    return image.colourspace("srgb")


def _lay_on_paper(image: pyvips.Image) -> pyvips.Image:
    return image.flatten(background=_PAPER) if image.hasalpha() else image


def _to_8_bits(image: pyvips.Image) -> pyvips.Image:
    return image.cast("uchar")
