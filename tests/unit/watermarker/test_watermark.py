import itertools

import pytest
from PIL import Image, ImageChops, ImageStat

from services.watermarker.lettering import segments_of, width_of
from services.watermarker.watermark import LONGEST_SIDE, MARK, stamp
from shared.imaging import ImageRefused, Refusal
from tests import photos

KINDS = {
    "JPEG": photos.a_jpeg,
    "progressive JPEG": photos.a_progressive_jpeg,
    "PNG": photos.a_png,
    "WebP": photos.a_webp,
    "AVIF": photos.an_avif,
    "16-bit PNG": photos.a_16_bit_png,
    "palette PNG": lambda width, height: photos.a_png(width, height, mode="P"),
    "wide-gamut JPEG": photos.a_wide_gamut_jpeg,
    "JPEG with an unusable profile": lambda width, height: photos.a_jpeg(width, height, icc_profile=b"none" * 50),
}


def a_plain_png(colour, width=400, height=300):
    return photos.encoded(Image.new("RGB", (width, height), colour), "PNG")


def traces(preview, original):
    """Where the preview differs from the original beyond what JPEG does to it, as a black and white picture."""
    return ImageChops.difference(photos.opened(preview.data), original).convert("L").point(lambda d: 255 * (d > 24))


@pytest.mark.parametrize("kind", KINDS)
def test_a_preview_is_the_same_picture_as_an_srgb_jpeg(kind):
    preview = stamp(KINDS[kind](640, 480))
    shown = photos.opened(preview.data)
    assert (shown.format, shown.mode, shown.size) == ("JPEG", "RGB", (640, 480))
    assert (preview.width, preview.height, preview.content_type) == (640, 480, "image/jpeg")
    assert photos.difference(shown, photos.a_photo(640, 480)) < 12


def test_the_colours_of_a_wide_gamut_photo_stay():
    plain, wide = (photos.opened(stamp(photo(640, 480)).data) for photo in (photos.a_jpeg, photos.a_wide_gamut_jpeg))
    assert photos.difference(plain, wide) < 2


def test_ink_values_become_light():
    # Pillow's CMYK is not colour-managed, so that only the likeness can be asked for.
    shown = photos.opened(stamp(photos.a_cmyk_jpeg(640, 480)).data)
    assert shown.mode == "RGB"
    assert photos.difference(shown, photos.a_photo(640, 480)) < 40


def test_a_grey_photo_stays_grey():
    shown = photos.opened(stamp(photos.a_png(640, 480, mode="L")).data)
    assert shown.mode == "RGB"
    red, green, blue = ImageStat.Stat(shown).mean
    assert max(red, green, blue) - min(red, green, blue) < 1


def test_what_is_transparent_becomes_white_paper():
    shown = photos.opened(stamp(photos.a_cut_out_png(640, 480)).data)
    paper, photo = shown.crop((330, 0, 640, 480)), shown.crop((0, 0, 310, 480))
    assert ImageStat.Stat(paper.convert("L")).median == [255]
    assert photos.difference(photo, photos.a_photo(320, 480).resize((310, 480))) < 20


def test_a_large_picture_is_shrunk_to_the_longest_side():
    assert (stamp(photos.a_jpeg(3200, 1000)).width, stamp(photos.a_jpeg(3200, 1000)).height) == (LONGEST_SIDE, 500)
    assert (stamp(photos.a_png(400, 1700)).width, stamp(photos.a_png(400, 1700)).height) == (376, LONGEST_SIDE)


def test_a_small_picture_is_not_enlarged():
    preview = stamp(photos.a_jpeg(64, 64))
    assert (preview.width, preview.height) == (64, 64)


def test_a_photo_held_sideways_stands_upright():
    shown = photos.opened(stamp(photos.a_jpeg_from_a_telephone(640, 480, orientation=6)).data)
    upright = photos.a_photo(640, 480).transpose(Image.Transpose.ROTATE_270)
    assert shown.size == (480, 640)
    assert photos.difference(shown, upright) < 12


def test_nothing_but_pixels_is_in_the_preview():
    photo = photos.a_jpeg_from_a_telephone()
    assert photos.opened(photo).getexif().get_ifd(photos.GPS_IFD)
    preview = stamp(photo).data
    shown = photos.opened(preview)
    assert not shown.getexif()
    assert not shown.info
    for trace in (b"Exif", b"Photographer", b"xmpmeta", b"ICC_PROFILE", b"GPS", b"vips"):
        assert trace not in preview


@pytest.mark.parametrize("colour", ["white", "black", "grey", "red", "navy", "gold"])
def test_the_mark_shows_on_every_colour(colour):
    plain = Image.new("RGB", (400, 300), colour)
    marked = traces(stamp(a_plain_png(colour)), plain)
    assert ImageStat.Stat(marked).mean[0] / 255 > 0.02


def test_the_mark_is_all_over_the_picture():
    marked = traces(stamp(a_plain_png("black", 1600, 1200)), Image.new("RGB", (1600, 1200), "black"))
    for left, top in itertools.product(range(0, 1600, 400), range(0, 1200, 300)):
        assert marked.crop((left, top, left + 400, top + 300)).getbbox(), (left, top)


def test_the_mark_leaves_most_of_the_picture_alone():
    marked = traces(stamp(a_plain_png("black", 1600, 1200)), Image.new("RGB", (1600, 1200), "black"))
    assert ImageStat.Stat(marked).mean[0] / 255 < 0.1


def test_the_same_picture_gives_the_same_preview():
    photo = photos.a_jpeg(1000, 700)
    assert stamp(photo) == stamp(photo)


@pytest.mark.parametrize("kind", KINDS)
def test_a_picture_that_was_cut_off_gets_no_preview(kind):
    picture = KINDS[kind](640, 480)
    with pytest.raises(ImageRefused) as refused:
        stamp(picture[: int(len(picture) * 0.8)])
    assert refused.value.code == Refusal.IMAGE_CORRUPT


def test_no_preview_is_made_of_what_is_no_picture():
    with pytest.raises(ImageRefused) as refused:
        stamp(photos.an_svg())
    assert refused.value.code == Refusal.UNSUPPORTED_IMAGE


def test_the_mark_can_be_written_and_is_as_wide_as_it_says():
    segments = list(segments_of(MARK))
    xs = [x for segment in segments for x, _ in segment]
    assert min(xs) == pytest.approx(0, abs=0.01)
    assert max(xs) == pytest.approx(width_of(MARK), abs=0.01)
