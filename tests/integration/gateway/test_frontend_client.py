"""The whole product in one process, used by somebody who read nothing but the OpenAPI document."""

import contextlib
import os
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests import frontend_client
from tests.photos import a_jpeg, opened
from tests.servers import free_port
from tests.stack import eventually


@pytest.fixture(scope="module")
def dev_url(module_database_url, tmp_path_factory):
    """`darkroom dev` on the tests' PostgreSQL."""
    folder, port = tmp_path_factory.mktemp("dev"), free_port()
    url = f"http://127.0.0.1:{port}"
    env = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(Path(__file__).parents[3]),
        "DATABASE_URL": module_database_url,
        "PORT": str(port),
        "GRACE_PERIOD": "5",
    }
    with (folder / "log").open("wb") as log:
        command = [sys.executable, "-m", "services.cli.main", "dev", "--data", str(folder / "data")]
        process = subprocess.Popen(command, env=env, stdout=log, stderr=log)
    try:
        eventually(lambda: answers(url), within=40, or_show=(folder / "log").read_text)
        yield url
    finally:
        process.terminate()
        process.wait(30)


def answers(url):
    with contextlib.suppress(httpx.TransportError):
        return httpx.get(f"{url}/health/ready").status_code == 200
    return False


def test_a_frontend_written_from_the_document_gets_its_picture(dev_url):
    seen = []
    status, preview = frontend_client.process(dev_url, a_jpeg(640, 480), "ann@example.com", seen.append)
    assert status["status"] == "completed"
    assert status["progress"] == 100
    assert opened(preview).format == "JPEG"
    progress = [each["progress"] for each in seen]
    assert progress == sorted(progress)
    assert len({each["workflowRunId"] for each in seen} - {None}) == 1


def test_it_is_told_in_words_what_is_wrong_with_its_picture(dev_url):
    with pytest.raises(RuntimeError, match="JPEG, PNG, WebP or AVIF"):
        frontend_client.process(dev_url, b"GIF89a", "ann@example.com")


def test_run_as_a_program_it_saves_the_preview(dev_url, tmp_path):
    photo = tmp_path / "cup.jpg"
    photo.write_bytes(a_jpeg(640, 480))
    done = subprocess.run(
        [sys.executable, "-m", "tests.frontend_client", dev_url, str(photo)],
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
        timeout=50,
    )
    assert done.returncode == 0, done.stderr
    assert "100 complete" in done.stdout
    assert opened((tmp_path / "cup-preview.jpg").read_bytes()).format == "JPEG"
