"""The stand-in for the AI provider: photo in, the same photo as a small gouache painting with ink lines out.

It costs nothing, needs no network and gives the same picture every time: a laptop, a demo and the tests have all that a
real run has, except the bill.
"""

import functools

import pyvips

from services.generator.provider import GeneratedImage
from shared.cpu_pool import CpuBusyError, CpuPool
from shared.imaging.codec import open_fitted, to_jpeg
from shared.imaging.limits import ImageRefused
from shared.upload.errors import FinalFailure, RetryableFailure

# The filters below need the picture in memory: this bounds it, whatever was uploaded.
LONGEST_SIDE = 2048
QUALITY = 92

_Corner = tuple[pyvips.Image, pyvips.Image]
"""Each pixel's mean colour of the square at one corner, and how much the square varies."""

_SMALLEST_BRUSH = 2
_BRUSH_SHARE = 1 / 400
"""Of the longest side: half the side of the square that a brush stroke levels."""
_PEN = 1.2
"""Pixels of blur before edges are looked for: thin enough for faces, wide enough to leave grain alone."""
_QUIET, _LOUD = 30, 160
"""Edges (of 255) up to the first stay paint; beyond the sum of both they are all ink."""
_INK = 0.55
_SHADOW = (24, 20, 58)
_LIGHT = (255, 240, 214)
_TINT_SHARE = 0.28
_SATURATION = 1.3


class LocalProvider:
    """A Provider that draws on this machine, within the pool's bounds."""

    name = "local"
    model = "darkroom-local-1"

    def __init__(self, cpu: CpuPool) -> None:
        self._cpu = cpu

    async def generate(self, image: bytes, content_type: str) -> GeneratedImage:  # noqa: ARG002 — the bytes say it better
        """Draw. Raises RetryableFailure while the pool is full, FinalFailure on what is no sound picture."""
        try:
            return await self._cpu.run(draw, image)
        except CpuBusyError as error:
            raise RetryableFailure("GENERATOR_BUSY", "Too many pictures are being drawn right now.") from error
        except ImageRefused as error:
            raise FinalFailure(error.code, error.message) from error


def draw(data: bytes) -> GeneratedImage:
    """Paint the photo. The same bytes in give the same bytes out. Raises ImageRefused."""
    picture = open_fitted(data, LONGEST_SIDE)
    for step in STEPS:
        picture = step(picture)
    return GeneratedImage(to_jpeg(picture, QUALITY), "image/jpeg")


def paint(photo: pyvips.Image) -> pyvips.Image:
    """Level the picture into brush strokes that keep its edges (a Kuwahara filter).

    Around each pixel lie four squares, one to each corner; the pixel takes the mean colour of the calmest, which is
    never one that crosses an edge.
    """
    brush = max(_SMALLEST_BRUSH, round(max(photo.width, photo.height) * _BRUSH_SHARE))
    side = brush + 1
    grey = photo.colourspace("b-w")
    colours = _box_mean(photo, side).cast("uchar").copy_memory()
    unrest = (_box_mean(grey * grey, side) - _box_mean(grey, side) ** 2).copy_memory()
    corners = [(_moved(colours, x, y), _moved(unrest, x, y)) for x in _ends(brush) for y in _ends(brush)]
    calmest, _ = functools.reduce(_calmer, corners)
    return calmest.copy(interpretation="srgb").copy_memory()


def ink(painting: pyvips.Image) -> pyvips.Image:
    """Darken the edges that are left, as a pen does over paint."""
    edges = painting.colourspace("b-w").gaussblur(_PEN).sobel().cast("float")
    line = 1 - ((edges - _QUIET) / _LOUD).clamp() * _INK
    return (painting * line).cast("uchar").copy(interpretation="srgb")


def tint(painting: pyvips.Image) -> pyvips.Image:
    """Pull shadows to a night blue and lights to warm paper, and let the colours between glow."""
    grey = painting.colourspace("b-w")
    share = grey / 255
    duotone = share * [light - dark for light, dark in zip(_LIGHT, _SHADOW, strict=True)] + list(_SHADOW)
    vivid = grey + (painting - grey) * _SATURATION
    return (vivid * (1 - _TINT_SHARE) + duotone * _TINT_SHARE).cast("uchar").copy(interpretation="srgb")


# Twice: the first pass calms the grain, the second makes strokes of what is left.
STEPS = (paint, paint, ink, tint)


def _box_mean(image: pyvips.Image, side: int) -> pyvips.Image:
    row = pyvips.Image.new_from_array([[1] * side], scale=side)
    return image.cast("float").convsep(row, precision="float")


def _ends(brush: int) -> tuple[int, int]:
    half = brush // 2 + brush % 2
    return -half, half


def _moved(image: pyvips.Image, x: int, y: int) -> pyvips.Image:
    """Look `x` to the right and `y` down; beyond the border it goes on as at the border."""
    width, height = image.width, image.height
    # embed only shifts right and down, so that the frame begins where both shifts are at home.
    framed = image.embed(abs(x), abs(y), width + 2 * abs(x), height + 2 * abs(y), extend="copy")
    return framed.crop(abs(x) + x, abs(y) + y, width, height)


def _calmer(one: _Corner, other: _Corner) -> _Corner:
    first = one[1] <= other[1]
    return first.ifthenelse(one[0], other[0]), first.ifthenelse(one[1], other[1])
