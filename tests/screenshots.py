"""`just screenshots [FOLDER]`: the pictures in the documents, taken from the running product by a browser.

Two products: one with the local stand-in, whose finished picture is shown, and one whose AI provider never answers, so
that a run is seen while it goes on.
"""

import argparse
import io
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

from tests.browser.conftest import FLAGS, chromium_program
from tests.browser.visitor import Visitor
from tests.dev import ROOT, Dev
from tests.gemini_server import serving_in_thread
from tests.photos import a_jpeg

SCREENS = {
    "desktop": {"viewport": {"width": 1280, "height": 800}},
    "phone": {
        "viewport": {"width": 390, "height": 844},
        "device_scale_factor": 2,
        "is_mobile": True,
        "has_touch": True,
    },
}
LARGEST = 200_000
"""Bytes of one picture: whoever opens the README on the way downloads all of them."""


def main() -> None:
    """Take every picture in every size of screen."""
    parser = argparse.ArgumentParser(prog="just screenshots", description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path, default=ROOT / "docs" / "images", help="where they go")
    target = parser.parse_args().folder
    target.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright, serving_in_thread("hang") as gemini:
        browser = playwright.chromium.launch(executable_path=chromium_program(), args=FLAGS)
        photo = Path(folder) / "coffee.jpg"
        photo.write_bytes(a_jpeg(1200, 800))
        _take(browser, _product(Path(folder) / "local", GENERATOR="local"), photo, target, "Your picture is ready")
        silent = {"GENERATOR": "gemini", "GEMINI_API_KEY": "none", "GEMINI_BASE_URL": gemini.url, "GRACE_PERIOD": "1"}
        _take(browser, _product(Path(folder) / "silent", **silent), photo, target, None)
        browser.close()


def _product(folder: Path, **env: str) -> Dev:
    folder.mkdir()
    product = Dev(folder, **env)
    product.start()
    return product


def _take(browser: Browser, product: Dev, photo: Path, target: Path, heading: str | None) -> None:
    """Follow one photo on each screen: to the end where `heading` names it, else until the provider is called."""
    try:
        for screen, options in SCREENS.items():
            visitor = Visitor(browser, product.url, target, **options)
            visitor.page.goto("/")
            if heading:
                _save(visitor.page, target / f"upload-{screen}.webp")
            visitor.hand_over(photo)
            if heading:
                visitor.sees(heading)
            else:
                visitor.page.locator("li[aria-current=step]", has_text="Developing").wait_for()
            visitor.page.wait_for_load_state("networkidle" if heading else "load")
            visitor.page.wait_for_timeout(800)  # transitions
            _save(visitor.page, target / f"{'ready' if heading else 'developing'}-{screen}.webp")
            visitor.leave()
    finally:
        product.end()


def _save(page: Page, path: Path) -> None:
    image = Image.open(io.BytesIO(page.screenshot(full_page=True)))
    for quality in (85, 70, 55, 40):
        image.save(path, "WEBP", quality=quality, method=6)
        if path.stat().st_size < LARGEST:
            break
    print(f"{path}: {image.width} by {image.height}, {path.stat().st_size / 1e3:.0f} kB")  # noqa: T201


if __name__ == "__main__":
    main()
