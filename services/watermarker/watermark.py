"""A finished picture's bytes in; out comes its preview: small, marked all over, and with nothing in it but pixels."""

import functools
import math
from array import array
from collections.abc import Iterator

import msgspec
import pyvips

from services.watermarker.lettering import Point, segments_of, width_of
from shared.imaging.codec import open_fitted, to_jpeg

MARK = "darkroom preview"
LONGEST_SIDE = 1600
QUALITY = 82

# The mark follows the picture's size, within what can be read. Pixels of an x-height.
_LETTER_SHARE = 1 / 75
_SMALLEST_LETTER = 6
_LARGEST_LETTER = 22

_SLOPE = math.radians(30)
_AIR = 3.0
"""Between the end of the text and its next beginning, in x-heights."""
# Strokes, in x-heights: half the width of the white line, and how far its dark rim reaches beyond.
_PEN = 0.085
_RIM = 0.17
# Of 255. White carries on dark pictures, the rim on light ones; both leave the picture to be seen.
_WHITE_OPACITY = 150
_RIM_OPACITY = 90


class Preview(msgspec.Struct, frozen=True):
    """The preview's file and its sides in pixels."""

    data: bytes
    width: int
    height: int
    content_type: str


def stamp(data: bytes) -> Preview:
    """Make the preview. The same bytes in give the same bytes out. Raises ImageRefused on what is no sound picture."""
    fitted = open_fitted(data, LONGEST_SIDE)
    marked = mark(fitted)
    # What the file carried beside its pixels (place, owner, profile) ends here.
    preview = to_jpeg(marked, QUALITY)
    return Preview(preview, marked.width, marked.height, "image/jpeg")


def mark(picture: pyvips.Image) -> pyvips.Image:
    """Lay the mark over the whole picture."""
    letter = round(max(picture.width, picture.height) * _LETTER_SHARE)
    white, opacity = _tile(min(max(letter, _SMALLEST_LETTER), _LARGEST_LETTER))
    return _cover(opacity, picture).ifthenelse(_cover(white, picture), picture, blend=True)


def _cover(tile: pyvips.Image, picture: pyvips.Image) -> pyvips.Image:
    across, down = math.ceil(picture.width / tile.width), math.ceil(picture.height / tile.height)
    return tile.replicate(across, down).crop(0, 0, picture.width, picture.height)


@functools.lru_cache(maxsize=_LARGEST_LETTER)
def _tile(letter: int) -> tuple[pyvips.Image, pyvips.Image]:
    """Return the mark's grey (white line, black rim) and its opacity, as a tile that fits to itself on all sides."""
    distance = _distance_to_strokes(letter)
    # Half a pixel either way is the smooth edge; the rim fades out instead of ending, and reads as a shadow.
    white = (_PEN * letter + 0.5 - distance).clamp()
    rim = (1 - (distance - _PEN * letter) / (_RIM * letter)).clamp()
    opacity = white * _WHITE_OPACITY + (1 - white) * rim * _RIM_OPACITY
    # What is half white and half rim is grey by their shares; where nothing shows the grey does not matter.
    grey = white * _WHITE_OPACITY * 255 / (opacity + 0.001)
    return _pixels(grey.bandjoin([grey, grey]).copy(interpretation="srgb")), _pixels(opacity)


def _pixels(image: pyvips.Image) -> pyvips.Image:
    return image.rint().cast("uchar").copy_memory()


def _distance_to_strokes(letter: int) -> pyvips.Image:
    """Return each pixel of the tile its distance to the nearest stroke, as far as the rim reaches."""
    width, height = _tile_sides(letter)
    reach = math.ceil((_PEN + _RIM) * letter) + 1
    nearest = array("f", [reach]) * (width * height)
    for begin, end in segments_of(MARK):
        for x, y, distance in _near(_sloped(begin, letter), _sloped(end, letter), reach):
            # What leaves the tile on one side comes in on the other.
            at = y % height * width + x % width
            nearest[at] = min(nearest[at], distance)
    return pyvips.Image.new_from_memory(nearest.tobytes(), width, height, 1, "float")


def _tile_sides(letter: int) -> tuple[int, int]:
    """Return room to the sloping text and to the air around it."""
    length = (width_of(MARK) + _AIR) * letter
    return math.ceil(length * math.cos(_SLOPE)), math.ceil(length * math.sin(_SLOPE))


def _sloped(point: Point, letter: int) -> Point:
    """Turn a point of the lettering upwards by the slope and into pixels, where y grows downwards."""
    x, y = point
    along = x * math.cos(_SLOPE) - y * math.sin(_SLOPE)
    up = x * math.sin(_SLOPE) + y * math.cos(_SLOPE)
    return along * letter, -up * letter


def _near(begin: Point, end: Point, reach: int) -> Iterator[tuple[int, int, float]]:
    """Return the pixels around a segment and how far each is from it."""
    (x1, y1), (x2, y2) = begin, end
    dx, dy = x2 - x1, y2 - y1
    squared = dx * dx + dy * dy
    for y in range(math.floor(min(y1, y2)) - reach, math.ceil(max(y1, y2)) + reach + 1):
        for x in range(math.floor(min(x1, x2)) - reach, math.ceil(max(x1, x2)) + reach + 1):
            share = min(max(((x - x1) * dx + (y - y1) * dy) / squared, 0.0), 1.0)
            yield x, y, math.hypot(x - x1 - share * dx, y - y1 - share * dy)
