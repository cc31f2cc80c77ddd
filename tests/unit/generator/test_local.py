import asyncio
import threading
from typing import TYPE_CHECKING

import pytest
from PIL import Image, ImageStat

from services.generator.local import LONGEST_SIDE, LocalProvider, draw
from shared.imaging import CpuPool, ImageRefused, Refusal, read_header
from shared.upload.errors import FinalFailure, RetryableFailure
from tests import photos

if TYPE_CHECKING:
    from services.generator.provider import Provider


@pytest.fixture
def cpu():
    pool = CpuPool(running=1, waiting=1)
    yield pool
    pool.close()


@pytest.mark.parametrize(
    "photo",
    [
        photos.a_jpeg(),
        photos.a_png(mode="L"),
        photos.a_16_bit_png(),
        photos.a_cut_out_png(),
        photos.a_webp(),
        photos.a_cmyk_jpeg(),
    ],
    ids=["JPEG", "grey", "16 bits", "alpha", "WebP", "CMYK"],
)
def test_a_painting_is_a_sound_picture_of_the_same_size(photo):
    painting = draw(photo)
    header = read_header(painting.data)
    assert painting.content_type == header.content_type == "image/jpeg"
    assert (header.width, header.height) == (320, 240)
    assert photos.opened(painting.data).mode == "RGB"


def test_a_painting_resembles_its_photo_and_is_visibly_another_picture():
    photo, painting = photos.a_photo(640, 480), photos.opened(draw(photos.a_jpeg(640, 480)).data)
    assert 5 < photos.difference(photo, painting) < 40


def test_grain_disappears_in_the_paint():
    grain = Image.effect_noise((320, 240), 20)
    painted = photos.opened(draw(photos.encoded(grain, "PNG")).data).convert("L")
    assert ImageStat.Stat(painted).stddev[0] < 0.6 * ImageStat.Stat(grain).stddev[0]


def test_the_same_photo_gives_the_same_painting():
    photo = photos.a_jpeg()
    assert draw(photo) == draw(photo)


def test_a_large_photo_is_painted_smaller():
    header = read_header(draw(photos.a_jpeg(3000, 300)).data)
    assert (header.width, header.height) == (LONGEST_SIDE, 205)


def test_a_painting_carries_nothing_of_where_the_photo_was_taken():
    painting = draw(photos.a_jpeg_from_a_telephone(320, 240, orientation=6))
    assert not photos.opened(painting.data).getexif()
    assert photos.opened(painting.data).size == (240, 320)


async def test_the_stand_in_is_a_provider(cpu):
    provider: Provider = LocalProvider(cpu)
    assert (provider.name, provider.model) == ("local", "darkroom-local-1")
    photo = photos.a_jpeg()
    assert await provider.generate(photo, "image/jpeg") == draw(photo)


async def test_no_sound_picture_is_a_final_failure(cpu):
    with pytest.raises(FinalFailure) as failure:
        await LocalProvider(cpu).generate(photos.a_jpeg()[:2000], "image/jpeg")
    assert failure.value.code == Refusal.IMAGE_CORRUPT
    assert isinstance(failure.value.__cause__, ImageRefused)


async def test_a_full_pool_is_a_reason_to_try_again(cpu):
    let_go = threading.Event()
    full = [asyncio.create_task(cpu.run(let_go.wait)) for _ in range(2)]
    await asyncio.sleep(0)
    with pytest.raises(RetryableFailure):
        await LocalProvider(cpu).generate(photos.a_jpeg(), "image/jpeg")
    let_go.set()
    assert await asyncio.gather(*full) == [True, True]
