"""A one-stroke alphabet of the letters that the mark needs: text in, line segments out.

A font would have to be on the machine, and a slim container has none. Units are x-heights: the baseline is y = 0, small
letters reach y = 1, stems 1.55, descenders -0.55; y grows upwards.
"""

import itertools
import math
from collections.abc import Iterator

Point = tuple[float, float]
Segment = tuple[Point, Point]
Stroke = list[Point]

_STEM = 1.55
_DESCENT = -0.55
_GAP = 0.42
_SPACE = 0.75
_DEGREES_PER_STEP = 12


def _line(*points: Point) -> Stroke:
    return list(points)


def _arc(centre: Point, radius: float, begin: int, end: int) -> Stroke:
    """Return a part of a circle as short lines; degrees, anticlockwise from the right."""
    steps = math.ceil(abs(end - begin) / _DEGREES_PER_STEP)
    turns = (math.radians(begin + (end - begin) * step / steps) for step in range(steps + 1))
    return [(centre[0] + radius * math.cos(turn), centre[1] + radius * math.sin(turn)) for turn in turns]


_BOWL = _arc((0.5, 0.5), 0.5, 0, 360)

# Letter: its width and its strokes.
_LETTERS: dict[str, tuple[float, list[Stroke]]] = {
    "a": (1.0, [_BOWL, _line((1, 0), (1, 1))]),
    "d": (1.0, [_BOWL, _line((1, 0), (1, _STEM))]),
    "e": (1.0, [_line((0, 0.5), (1, 0.5)), _arc((0.5, 0.5), 0.5, 0, 315)]),
    "i": (0.0, [_line((0, 0), (0, 1)), _line((0, 1.42), (0, 1.44))]),
    "k": (0.72, [_line((0, 0), (0, _STEM)), _line((0.68, 1), (0, 0.36)), _line((0.24, 0.58), (0.72, 0))]),
    "m": (
        1.4,
        [
            _line((0, 0), (0, 1)),
            [*_arc((0.35, 0.65), 0.35, 180, 0), (0.7, 0)],
            [*_arc((1.05, 0.65), 0.35, 180, 0), (1.4, 0)],
        ],
    ),
    "o": (1.0, [_BOWL]),
    "p": (1.0, [_BOWL, _line((0, 1), (0, _DESCENT))]),
    "r": (0.55, [_line((0, 0), (0, 1)), _arc((0.5, 0.5), 0.5, 180, 80)]),
    "v": (0.88, [_line((0, 1), (0.44, 0), (0.88, 1))]),
    "w": (1.36, [_line((0, 1), (0.34, 0), (0.68, 1), (1.02, 0), (1.36, 1))]),
}


def width_of(text: str) -> float:
    """Measure a text in x-heights."""
    *_, end = _offsets(text)
    return end - _GAP


def segments_of(text: str) -> Iterator[Segment]:
    """Draw a text from (0, 0) to the right. Raises KeyError on a letter that the alphabet does not have."""
    for letter, at in zip(text, _offsets(text), strict=False):
        for stroke in _strokes(letter):
            shifted = [(x + at, y) for x, y in stroke]
            yield from itertools.pairwise(shifted)


def _strokes(letter: str) -> list[Stroke]:
    return [] if letter == " " else _LETTERS[letter][1]


def _offsets(text: str) -> Iterator[float]:
    """Return where each letter begins and, last, where the next one would."""
    at = 0.0
    for letter in text:
        yield at
        at += _SPACE if letter == " " else _LETTERS[letter][0] + _GAP
    yield at
