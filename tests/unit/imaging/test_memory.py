"""What a whole process needs for a large picture. Each runs in a process of its own, whose peak is its own."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import pyvips

from tests import photos

ROOT = Path(__file__).parents[3]
PEAK = """
import pathlib, re, sys
from {module} import {work}
{work}(pathlib.Path(sys.argv[1]).read_bytes())
# Not ru_maxrss: a child begins with its parent's.
print(re.search(r"VmHWM:\\s+(\\d+) kB", pathlib.Path("/proc/self/status").read_text())[1])
"""

pytestmark = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads the peak where Linux keeps it")


def peak_megabytes(module, work, picture):
    program = [sys.executable, "-c", PEAK.format(module=module, work=work), str(picture)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(program, check=True, capture_output=True, text=True, env=environment, cwd=ROOT)
    return int(re.match(r"\d+", done.stdout)[0]) / 1000


@pytest.fixture(scope="module")
def a_50_megapixel_png(tmp_path_factory):
    path = tmp_path_factory.mktemp("large") / "50.png"
    path.write_bytes(photos.a_50_megapixel_png())
    return path


@pytest.mark.parametrize(
    ("module", "work"),
    [
        ("services.validator.checks", "check"),
        ("services.generator.local", "draw"),
        ("services.watermarker.watermark", "stamp"),
    ],
)
def test_50_megapixels_go_through_every_stage_in_less_than_250_megabytes(module, work, a_50_megapixel_png):
    assert peak_megabytes(module, work, a_50_megapixel_png) < 250


def test_24_megapixels_are_validated_without_ever_being_in_memory(tmp_path):
    photo = tmp_path / "24.jpg"
    photo.write_bytes(photos.a_24_megapixel_jpeg())
    # The pixels alone would be 72 on top of the interpreter's 40.
    assert peak_megabytes("services.validator.checks", "check", photo) < 80


def whole(width, height, *, bands=3, deep=False):
    """Return a picture of stripes, which a file holds in few bytes and a decoder does not."""
    stripes = (pyvips.Image.xyz(width, height)[0] % 251).cast("uchar")
    picture = stripes.bandjoin([stripes] * (bands - 1)).copy(interpretation="srgb")
    return (picture.cast("ushort") * 257).cast("ushort").copy(interpretation="rgb16") if deep else picture


HELD_WHOLE = {
    "an interlaced PNG of 64 bits a pixel": lambda: whole(4700, 4720, bands=4, deep=True).pngsave_buffer(
        interlace=True, bitdepth=16
    ),
    "a progressive JPEG": lambda: whole(7070, 7070).jpegsave_buffer(Q=75, interlace=True),
    "long rows": lambda: whole(65_535, 760).pngsave_buffer(),
    "an AVIF": lambda: whole(4000, 3100).heifsave_buffer(compression="av1", Q=20, effort=0),
}


@pytest.mark.parametrize("what", HELD_WHOLE)
@pytest.mark.parametrize(
    ("module", "work"), [("services.validator.checks", "check"), ("services.generator.prepare", "prepare")]
)
def test_the_largest_that_a_decoder_holds_whole_take_less_than_300_megabytes(what, module, work, tmp_path):
    path = tmp_path / "picture"
    path.write_bytes(HELD_WHOLE[what]())

    assert peak_megabytes(module, work, path) < 300
