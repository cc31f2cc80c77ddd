import hashlib

import pytest

from services.validator.checks import CheckedImage, check
from shared.imaging import ImageRefused, Refusal
from tests import photos

SOUND = {
    "JPEG": photos.a_jpeg(),
    "progressive JPEG": photos.a_progressive_jpeg(),
    "CMYK JPEG": photos.a_cmyk_jpeg(),
    "PNG": photos.a_png(),
    "interlaced PNG": photos.as_vips(photos.a_photo()).pngsave_buffer(interlace=True),
    "16-bit PNG": photos.a_16_bit_png(),
    "PNG with alpha": photos.a_cut_out_png(),
    "WebP": photos.a_webp(),
    "lossless WebP": photos.a_webp(lossless=True),
    "AVIF": photos.an_avif(),
}


def refusal_of(picture):
    with pytest.raises(ImageRefused) as refused:
        check(picture)
    return refused.value.code


def test_a_sound_picture_is_described():
    photo = photos.a_jpeg(300, 200)
    digest = hashlib.sha256(photo).hexdigest()
    assert check(photo) == CheckedImage(300, 200, "jpeg", digest, len(photo))


@pytest.mark.parametrize("kind", SOUND)
def test_a_sound_picture_passes(kind):
    assert (check(SOUND[kind]).width, check(SOUND[kind]).height) == (320, 240)


@pytest.mark.parametrize("share", [0.3, 0.6, 0.97])
@pytest.mark.parametrize("kind", SOUND)
def test_a_picture_that_was_cut_off_is_corrupt(kind, share):
    picture = SOUND[kind]
    assert refusal_of(picture[: int(len(picture) * share)]) == Refusal.IMAGE_CORRUPT


@pytest.mark.parametrize("kind", ["PNG", "interlaced PNG", "AVIF"])
def test_a_picture_with_a_damaged_middle_is_corrupt(kind):
    picture = bytearray(SOUND[kind])
    middle = len(picture) // 2
    picture[middle : middle + 50] = b"\x55" * 50
    assert refusal_of(bytes(picture)) == Refusal.IMAGE_CORRUPT


def test_a_jpeg_filled_up_with_zeros_is_corrupt():
    photo = photos.a_jpeg()
    half = len(photo) // 2
    assert refusal_of(photo[:half] + bytes(half)) == Refusal.IMAGE_CORRUPT


def test_what_cameras_leave_in_their_files_does_no_harm():
    photo = photos.a_jpeg()
    appended_film = photo + b"\0\0\0\x18ftypmp42" * 20
    stray_bytes_before_the_end = photo[:-2] + b"\0\0\0" + photo[-2:]
    unusable_profile = photos.a_jpeg(icc_profile=b"no profile" * 30)
    for harmless in (appended_film, stray_bytes_before_the_end, unusable_profile):
        assert check(harmless).format == "jpeg"


def test_the_limits_are_seen_before_the_pixels():
    # There are no pixels in it: had it been decoded, it would be corrupt.
    assert refusal_of(photos.a_png_that_claims(10_000, 10_000)) == Refusal.IMAGE_TOO_LARGE
    assert refusal_of(photos.a_png_that_claims(1_000, 1_000)) == Refusal.IMAGE_CORRUPT


def test_a_picture_is_validated_through_its_last_line():
    png = photos.as_vips(photos.a_photo(400, 2_000)).pngsave_buffer(compression=0)
    last_line = len(png) - 2_000
    damaged = png[:last_line] + bytes(byte ^ 0xFF for byte in png[last_line : last_line + 40]) + png[last_line + 40 :]
    assert refusal_of(damaged) == Refusal.IMAGE_CORRUPT
