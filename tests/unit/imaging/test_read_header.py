import resource
import time

import pytest

from shared.imaging import ImageHeader, ImageRefused, Refusal, read_header
from shared.imaging.limits import MAX_BYTES_HELD
from tests import photos


def refusal_of(source):
    with pytest.raises(ImageRefused) as refused:
        read_header(source)
    assert refused.value.message.endswith(".")
    return refused.value.code


@pytest.mark.parametrize(
    ("picture", "name"),
    [
        (photos.a_jpeg(), "jpeg"),
        (photos.a_progressive_jpeg(), "jpeg"),
        (photos.a_cmyk_jpeg(), "jpeg"),
        (photos.a_png(), "png"),
        (photos.a_png(mode="L"), "png"),
        (photos.a_png(mode="P"), "png"),
        (photos.a_16_bit_png(), "png"),
        (photos.a_webp(), "webp"),
        (photos.an_avif(), "avif"),
    ],
)
def test_a_picture_says_its_size_and_format(picture, name):
    assert read_header(picture) == ImageHeader(320, 240, name, f"image/{name}")


def test_a_file_is_read_like_bytes_whatever_its_name_says(tmp_path):
    path = tmp_path / "holiday [1].jpg"
    path.write_bytes(photos.a_png(100, 80))
    assert read_header(path) == ImageHeader(100, 80, "png", "image/png")


@pytest.mark.parametrize("orientation", [5, 6, 7, 8])
def test_a_photo_held_sideways_has_the_sides_that_a_viewer_shows(orientation):
    header = read_header(photos.a_jpeg_from_a_telephone(320, 240, orientation))
    assert (header.width, header.height) == (240, 320)


@pytest.mark.parametrize(
    "source",
    [
        b"",
        b"\xff\xd8",
        b"this is a holiday photo, honestly\n" * 100,
        photos.an_svg(),
        photos.a_gif(),
        photos.a_tiff(),
        b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n",
        photos.a_heic_by_its_brand(),
        photos.an_animated_webp(),
        photos.an_animated_avif(),
    ],
    ids=["empty", "two bytes", "text", "SVG", "GIF", "TIFF", "PDF", "HEIC", "animated WebP", "animated AVIF"],
)
def test_what_is_no_single_picture_in_our_formats_is_unsupported(source, tmp_path):
    named_jpg = tmp_path / "photo.jpg"
    named_jpg.write_bytes(source)
    assert refusal_of(source) == refusal_of(named_jpg) == Refusal.UNSUPPORTED_IMAGE


@pytest.mark.parametrize(
    "source",
    [
        photos.a_png_with_an_empty_header(),
        photos.a_png()[:12],
        b"\xff\xd8\xff" + b"no picture at all" * 50,
        b"RIFF\x10\0\0\0WEBPVP8 \0\0\0\0",
        b"\0\0\0\x1cftypavif\0\0\0\0avifmif1miaf" + bytes(100),
    ],
    ids=["PNG with a 0-byte chunk", "PNG without a header", "JPEG in name only", "empty WebP", "empty AVIF"],
)
def test_a_broken_header_is_corrupt(source):
    assert refusal_of(source) == Refusal.IMAGE_CORRUPT


def test_the_shortest_side_is_64_pixels():
    assert read_header(photos.a_png(64, 64)).width == 64
    assert refusal_of(photos.a_png(63, 64)) == Refusal.IMAGE_TOO_SMALL
    assert refusal_of(photos.a_png(64, 63)) == Refusal.IMAGE_TOO_SMALL


def test_the_most_is_50_megapixels_to_the_pixel():
    assert read_header(photos.a_png_that_claims(10_000, 5_000)).height == 5_000
    assert refusal_of(photos.a_png_that_claims(50_000_001, 64)) == Refusal.IMAGE_TOO_LARGE
    with pytest.raises(ImageRefused, match=r"50\.1 megapixels; at most 50 are"):
        read_header(photos.a_png_that_claims(10_000, 5_001))


def test_a_decompression_bomb_is_refused_without_decoding_it(tmp_path):
    bomb = tmp_path / "bomb.png"
    bomb.write_bytes(photos.a_decompression_bomb())
    assert bomb.stat().st_size < 200_000
    read_header(photos.a_png())
    before, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.perf_counter()
    assert refusal_of(bomb) == Refusal.IMAGE_TOO_LARGE
    # Decoding it takes some 400 ms here; the header some 2.
    assert time.perf_counter() - began < 0.1
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 10_000


def test_a_picture_that_is_decoded_in_one_piece_must_fit_into_memory():
    side = 7_000
    in_rows = photos.a_png_that_claims(side, side // 2, depth=16)
    in_one_piece = photos.a_png_that_claims(side, side // 2, depth=16, interlaced=True)
    assert side * side // 2 * 7 < MAX_BYTES_HELD
    assert read_header(in_rows) == read_header(in_one_piece)
    in_rows = photos.a_png_that_claims(side, 6_000, depth=16)
    in_one_piece = photos.a_png_that_claims(side, 6_000, depth=16, interlaced=True)
    assert read_header(in_rows).width == side
    assert refusal_of(in_one_piece) == Refusal.IMAGE_TOO_LARGE


def test_a_large_progressive_jpeg_is_refused_with_advice():
    with pytest.raises(ImageRefused, match="Save it as a plain JPEG"):
        read_header(a_progressive_jpeg_that_claims(8_000, 6_000))


def a_progressive_jpeg_that_claims(width, height):
    """A small file whose frame header was rewritten; the header is all that is read."""
    small = photos.a_jpeg(64, 64, progressive=True, subsampling="4:4:4")
    frame = small.index(b"\xff\xc2") + 5
    return small[:frame] + height.to_bytes(2) + width.to_bytes(2) + small[frame + 4 :]


def test_a_side_of_more_than_jpeg_knows_is_refused_by_the_header_alone():
    with pytest.raises(ImageRefused, match="at most 65535") as refused:
        read_header(photos.a_png_that_claims(781_250, 64))
    assert refused.value.code is Refusal.IMAGE_TOO_LARGE
