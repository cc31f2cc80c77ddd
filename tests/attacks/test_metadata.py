"""What a picture carries beside its pixels costs neither memory nor time, wherever it is read.

Seen before: a PNG of 0.8 MB took 1.56 GiB and 7.6 s in the gateway, which only reads its header, and one of 9.7 MB took
14 GB and 99 s decoded; a JPEG of 45 MB in nine million segments took 2.2 GiB; 3 MB of doubled chunks gave 70 MB of log.
"""

import subprocess
import sys
import zlib
from itertools import product

import pytest

from shared.imaging import ImageRefused, formats, metadata, read_header
from shared.imaging.codec import decode_all, open_fitted
from tests.photos import a_jpeg, a_png, a_webp, jpeg_segment, png_chunk, with_png_chunks, with_segments

TEXT = zlib.compress(b"a" * 50_000_000, 9)
PROFILE = b"p\0\0" + zlib.compress(b"a" * 400_000_000, 9)
PNG = {
    "packed text": b"".join(png_chunk(b"zTXt", b"k%d\0\0" % n + TEXT) for n in range(18)),
    "packed international text": b"".join(png_chunk(b"iTXt", b"k%d\0\1\0\0\0" % n + TEXT) for n in range(18)),
    "a packed profile": png_chunk(b"iCCP", PROFILE),
    "plain text": png_chunk(b"tEXt", b"k\0" + b"a" * 30_000_000),
    "EXIF": png_chunk(b"eXIf", b"II*\0\x08\0\0\0" + bytes(30_000_000)),
    "doubled chunks": png_chunk(b"gAMA", b"\0\0\xb1\x8f") * 15_000,
    "what nobody knows": png_chunk(b"abCd", bytes(3_000)) * 10_000,
}
JPEG = {
    "comments": jpeg_segment(0xFE, bytes(65_000)) * 500,
    "XMP": jpeg_segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + b"a" * 64_000) * 500,
    "a profile": b"".join(
        jpeg_segment(0xE2, b"ICC_PROFILE\0" + bytes([n, 255]) + bytes(65_000)) for n in range(1, 255)
    ),
    "small segments": jpeg_segment(0xED, b"x") * 19_000,
}
MANY = {
    "png": with_png_chunks(a_png(), png_chunk(b"tEXt", b"k\0v") * 1_000_000),
    "jpeg": with_segments(a_jpeg(), jpeg_segment(0xED, b"x") * 3_000_000),
    "jpeg between scans": with_segments(
        a_jpeg(progressive=True), jpeg_segment(0xED, b"x") * 3_000_000, before_last=True
    ),
    "webp": a_webp() + b"abcd\0\0\0\0" * 1_000_000,
}
LARGE = {
    **{f"png, {what}": with_png_chunks(a_png(), chunks) for what, chunks in PNG.items()},
    **{f"png, {what} at its end": with_png_chunks(a_png(), chunks, last=True) for what, chunks in PNG.items()},
    **{f"jpeg, {what}": with_segments(a_jpeg(), segments) for what, segments in JPEG.items()},
}
# Not ru_maxrss: a child begins with its parent's.
_PEAK = """
import re, resource, sys
from pathlib import Path
from shared.imaging import ImageRefused, formats, metadata, read_header
from shared.imaging.codec import decode_all, open_fitted
def peak():
    return int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1])
path = Path(sys.argv[1])
data = path.read_bytes()
before = peak()
for work, source in (read_header, path), (read_header, data), (decode_all, data), (lambda s: open_fitted(s, 256), data):
    try:
        work(source)
    except ImageRefused as refused:
        print(refused.code, file=sys.stderr)
print((peak() - before) // 1024, resource.getrusage(resource.RUSAGE_SELF).ru_utime)
"""


@pytest.mark.parametrize(("name", "data"), [*LARGE.items(), *MANY.items()], ids=[*LARGE, *MANY])
def test_metadata_costs_neither_memory_nor_time(name, data, tmp_path):
    path = tmp_path / "picture"
    path.write_bytes(data)

    done = subprocess.run([sys.executable, "-c", _PEAK, path], capture_output=True, text=True, timeout=60, check=True)

    mebibytes, seconds = done.stdout.split()
    assert int(mebibytes) < 64
    assert float(seconds) < 10
    assert ("UNSUPPORTED_IMAGE" in done.stderr) == (name in MANY), done.stderr


@pytest.mark.parametrize("name", LARGE)
def test_a_picture_with_much_metadata_is_the_same_picture_without(name):
    plain = a_png() if name.startswith("png") else a_jpeg()

    assert read_header(LARGE[name]) == read_header(plain)
    decode_all(LARGE[name])
    assert (open_fitted(LARGE[name], 64) - open_fitted(plain, 64)).abs().max() == 0


def test_the_orientation_is_found_among_much_metadata():
    turned = a_jpeg(120, 80, exif=b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0")
    heavy = with_segments(turned, JPEG["XMP"])

    assert (read_header(heavy).width, read_header(heavy).height) == (80, 120)
    assert open_fitted(heavy, 64).width < open_fitted(heavy, 64).height


def test_what_cameras_and_editors_write_stays_as_it_is():
    honest = {
        formats.JPEG: with_segments(
            a_jpeg(), jpeg_segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + bytes(60_000)) * 20
        ),
        formats.PNG: with_png_chunks(a_png(), png_chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + b"a" * 200_000)),
        formats.WEBP: a_webp(exif=b"Exif\0\0II*\0\x08\0\0\0\0\0", xmp=b"<x/>"),
    }
    for (fmt, data), header_only in product(honest.items(), (False, True)):
        assert metadata.without_metadata(data, fmt, header_only=header_only) is None
        decode_all(data)


@pytest.mark.parametrize("cut", [9, 20, 33, 40, 100, 1_000])
@pytest.mark.parametrize("name", ["png, plain text", "jpeg, XMP"])
def test_a_file_that_breaks_off_anywhere_is_refused_and_no_more(name, cut):
    with pytest.raises(ImageRefused):
        decode_all(LARGE[name][:cut])
