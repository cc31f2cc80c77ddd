"""The stages' work on large pictures, beside Pillow: peak memory, and a second picture's time, in fresh processes."""

from collections.abc import Callable

from tests.benchmarks.ground import Ground
from tests.benchmarks.processes import child
from tests.benchmarks.report import Figure, Got, Result
from tests.photos import a_24_megapixel_jpeg, a_photo, as_vips

_BESIDE = {"validate": "pillow-decode", "watermark": "pillow-mark"}
_STAGES = {
    "header": "gateway, header",
    "validate": "validator",
    "prepare": "generator, what the provider gets",
    "draw": "generator, local",
    "watermark": "watermarker",
}


async def run(ground: Ground) -> Result:
    rounds = ground.pick(quick=1, usual=5)
    folder = ground.folder("image")
    ground.say("making pictures")
    jpeg, png, result = folder / "24.jpeg", folder / "50.png", folder / "result.jpeg"
    jpeg.write_bytes(a_24_megapixel_jpeg())
    png.write_bytes(_png_of_50_megapixels())
    result.write_bytes(as_vips(a_photo(2048, 1365)).jpegsave_buffer(Q=90))
    figures = []
    for stage, floor in _BESIDE.items():
        got = Got()
        for nth in range(rounds):
            ground.say(f"{stage} of a JPEG, round {nth + 1} of {rounds}")
            for name in (stage, floor, f"{floor}-draft"):
                done = child(name, str(jpeg), "again")
                got.add(**{f"{name} s": done["seconds"] * 1000, f"{name} peak": done["peak"] / 2**20})
        for unit, what in (("ms", "s"), ("MiB", "peak")):
            figures += [
                Figure(
                    name=f"{stage}, 24-megapixel JPEG, {'time' if unit == 'ms' else 'peak memory'}",
                    unit=unit,
                    rounds=got[f"{stage} {what}"],
                    floor=f"Pillow{mode}",
                    floor_rounds=got[f"{beside} {what}"],
                )
                for mode, beside in (("", floor), (", draft mode", f"{floor}-draft"))
            ]
    figures += _of_a_run(str(jpeg), str(result), ground.say, rounds)
    figures += _through_every_stage(str(png), ground.say, ground.pick(quick=1, usual=3))
    return Result(
        name="image",
        about="what the stages do to pictures: the time of a process's second picture, and peak memory",
        settings={"rounds": str(rounds), "JPEG": f"{jpeg.stat().st_size / 2**20:.1f} MiB",
                  "PNG": f"{png.stat().st_size / 2**20:.1f} MiB, 50 megapixels"},
        figures=figures,
    )  # fmt: skip


def _of_a_run(jpeg: str, result: str, say: Callable[[str], None], rounds: int) -> list[Figure]:
    figures = []
    for name, picture, what in (
        ("validate", jpeg, "24-megapixel JPEG"),
        ("prepare", jpeg, "24-megapixel JPEG"),
        ("watermark", result, "JPEG of 2,048 by 1,365"),
    ):
        say(f"processor time of {name}")
        spent = [child(name, picture, "again")["cpu"] * 1000 for _ in range(rounds)]
        figures.append(Figure(name=f"CPU of one run: {_STAGES[name]}, {what}", unit="ms", rounds=spent))
    return figures


def _through_every_stage(png: str, say: Callable[[str], None], rounds: int) -> list[Figure]:
    figures = []
    for name, stage in _STAGES.items():
        say(f"{stage} of a PNG")
        done = [child(name, png, "again") for _ in range(rounds)]
        took, peak = [one["seconds"] * 1000 for one in done], [one["peak"] / 2**20 for one in done]
        figures.append(Figure(name=f"{stage}, 50-megapixel PNG, peak memory", unit="MiB", rounds=peak))
        figures.append(Figure(name=f"{stage}, 50-megapixel PNG, time", unit="ms", rounds=took))
    return figures


def _png_of_50_megapixels() -> bytes:
    # The most that is accepted: 8,192 by 6,103 pixels.
    return as_vips(a_photo(2048, 1526)).resize(4).crop(0, 0, 8192, 6103).pngsave_buffer(compression=1)
