"""Pictures for tests, made here: honest ones with one thing that matters about them, and hostile ones."""

import functools
import io
import struct
import zlib

import pyvips
from PIL import Image, ImageCms
from skimage import data

from shared.imaging import libvips  # noqa: F401 — tests load pictures under the same rules as the product

GPS_IFD = 0x8825
ORIENTATION = 0x0112


def a_photo(width=320, height=240):
    """A real photograph (a cup of coffee on a table) in the size asked for, as a Pillow image in RGB."""
    return Image.fromarray(data.coffee()).resize((width, height))


def a_jpeg(width=320, height=240, **options):
    return encoded(a_photo(width, height), "JPEG", **{"quality": 90, **options})


def a_png(width=320, height=240, mode="RGB", **options):
    return encoded(a_photo(width, height).convert(mode), "PNG", **options)


def a_webp(width=320, height=240, **options):
    return encoded(a_photo(width, height), "WEBP", **options)


def an_avif(width=320, height=240, **options):
    return encoded(a_photo(width, height), "AVIF", speed=10, **options)


def a_cmyk_jpeg(width=320, height=240):
    return encoded(a_photo(width, height).convert("CMYK"), "JPEG", quality=90)


def a_16_bit_png(width=320, height=240):
    photo = as_vips(a_photo(width, height))
    return (photo.cast("ushort") * 257).cast("ushort").copy(interpretation="rgb16").pngsave_buffer(bitdepth=16)


def a_cut_out_png(width=320, height=240):
    """A photo on a transparent ground: only its left half is there; the rest is black below an alpha of nought."""
    canvas = Image.new("RGBA", (width, height), (0, 0, 0, 0))
    canvas.paste(a_photo(width // 2, height), (0, 0))
    return encoded(canvas, "PNG")


def a_wide_gamut_jpeg(width=320, height=240):
    """The same colours as `a_jpeg`, written in Display P3 with its profile: read as sRGB they would look pale."""
    photo = as_vips(a_photo(width, height))
    return photo.icc_transform("p3", input_profile="srgb", embedded=False).jpegsave_buffer(Q=92)


def a_jpeg_from_a_telephone(width=320, height=240, orientation=6):
    """A photo held sideways, with the place where it was taken, a name, a comment and a profile in the file."""
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    exif[0x013B] = "Jane Photographer"
    exif.get_ifd(GPS_IFD).update({1: "N", 2: (52.0, 31.0, 12.0), 3: "E", 4: (13.0, 24.0, 18.0)})
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    xmp = b"<x:xmpmeta xmlns:x='adobe:ns:meta/'>Jane Photographer</x:xmpmeta>"
    return a_jpeg(width, height, exif=exif, icc_profile=profile, comment="Jane Photographer", xmp=xmp)


@functools.cache
def a_24_megapixel_jpeg():
    """As large as a camera's: 6000 by 4000, some 5 MB; the same cup again and again."""
    return as_vips(a_photo(1500, 1000)).replicate(4, 4).jpegsave_buffer(Q=90)


@functools.cache
def a_50_megapixel_png():
    """As large as is accepted: 10,000 by 5,000, some 16 MB."""
    return as_vips(a_photo(1000, 500)).replicate(10, 10).pngsave_buffer(compression=1)


def an_animated_webp():
    frames = [a_photo(160, 120), a_photo(160, 120).rotate(180)]
    return encoded(frames[0], "WEBP", save_all=True, append_images=frames[1:], duration=100)


def an_animated_avif():
    frames = [a_photo(96, 64), a_photo(96, 64).rotate(90)]
    return encoded(frames[0], "AVIF", save_all=True, append_images=frames[1:], duration=100, speed=10)


def a_png_that_claims(width, height, *, depth=8, interlaced=False):
    """A PNG whose header is well formed and whose pixels are not there."""
    header = struct.pack(">IIBBBBB", width, height, depth, 2, 0, 0, interlaced)
    return _png((b"IHDR", header), (b"IDAT", zlib.compress(b"\0")), (b"IEND", b""))


def a_decompression_bomb(width=10_000, height=10_000):
    """A sound PNG of 100 megapixels in some 100 kB, all black."""
    rows = zlib.compressobj(9)
    pixels = b"".join(rows.compress(bytes(1 + width)) for _ in range(height)) + rows.flush()
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return _png((b"IHDR", header), (b"IDAT", pixels), (b"IEND", b""))


def a_png_with_an_empty_header():
    """A PNG whose first chunk is IHDR with 0 bytes in it."""
    return _png((b"IHDR", b""), (b"IDAT", b""), (b"IEND", b""))


def a_progressive_jpeg(width=320, height=240):
    return a_jpeg(width, height, progressive=True)


def an_svg():
    return b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg" width="200" height="200"><rect/></svg>'


def a_gif():
    return encoded(a_photo().convert("P"), "GIF")


def a_tiff():
    return encoded(a_photo(), "TIFF")


def a_heic_by_its_brand():
    return struct.pack(">I4s4sI4s4s", 24, b"ftyp", b"heic", 0, b"mif1", b"heic") + bytes(200)


def encoded(image, kind, **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def as_vips(image):
    return pyvips.Image.new_from_memory(image.tobytes(), *image.size, 3, "uchar").copy(interpretation="srgb")


def opened(file):
    """A picture's bytes as a Pillow image, so that what libvips wrote is read by something else."""
    image = Image.open(io.BytesIO(file))
    image.load()
    return image


def difference(one, other):
    """How far two pictures are apart, seen from a distance: the mean of 16 by 16 fields' differences, 0 to 255."""
    fields = [image.convert("RGB").resize((16, 16), Image.Resampling.BOX).tobytes() for image in (one, other)]
    return sum(abs(a - b) for a, b in zip(*fields, strict=True)) / len(fields[0])


def _png(*chunks):
    body = (struct.pack(">I", len(c)) + name + c + struct.pack(">I", zlib.crc32(name + c)) for name, c in chunks)
    return b"\x89PNG\r\n\x1a\n" + b"".join(body)


def png_chunk(kind, content):
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def with_png_chunks(png, chunks, *, last=False):
    """Put chunks before a PNG's pixels, or behind them."""
    at = png.index(b"IEND" if last else b"IDAT") - 4
    return png[:at] + chunks + png[at:]


def jpeg_segment(marker, content):
    return struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content


def with_segments(jpeg, segments, *, before_last=False):
    """Put segments at a JPEG's beginning, or before its last scan's tables."""
    at = jpeg.rindex(b"\xff\xc4") if before_last else 2
    return jpeg[:at] + segments + jpeg[at:]
