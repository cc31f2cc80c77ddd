import pytest
import pyvips

from tests import photos


@pytest.mark.parametrize("picture", [photos.an_svg(), photos.a_gif(), photos.a_tiff()], ids=["SVG", "GIF", "TIFF"])
def test_libvips_itself_reads_no_other_format(picture):
    with pytest.raises(pyvips.Error):
        pyvips.Image.new_from_buffer(picture, "")
    with pytest.raises(pyvips.Error):
        pyvips.Image.thumbnail_buffer(picture, 100)


@pytest.mark.parametrize("loader", ["svgload_buffer", "gifload_buffer", "tiffload_buffer"])
def test_a_loader_of_another_format_cannot_be_called_by_name(loader):
    with pytest.raises(pyvips.Error, match="blocked"):
        pyvips.Operation.call(loader, photos.a_gif())


def test_no_finished_work_is_kept_in_memory():
    pyvips.Image.new_from_buffer(photos.a_png(), "").invert().avg()
    assert pyvips.cache_get_max() == 0
    assert pyvips.cache_get_size() == 0
