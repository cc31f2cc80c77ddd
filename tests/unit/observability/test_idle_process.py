"""What a process loads before its first message, which is what it weighs while it has nothing to do."""

import subprocess
import sys

import pytest

HEAVY = ("boto3", "botocore", "aiohttp", "google.genai", "litestar", "numpy", "opentelemetry.sdk", "posthog", "yoyo")


@pytest.mark.parametrize(
    ("service", "also"),
    [
        ("storer", ("pyvips",)),
        ("dispatcher", ("pyvips",)),
        ("analytics", ("pyvips",)),
        ("validator", ()),
        ("generator", ()),
        ("watermarker", ()),
    ],
)
def test_a_stage_loads_only_what_it_works_with(service, also):
    code = (
        f"import sys, services.{service}.app, services.cli.processes.serve\n"
        f"print([name for name in {HEAVY + also!r} if name in sys.modules])"
    )
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert loaded.strip() == "[]"
