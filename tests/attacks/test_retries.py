"""An owner who asks again and again, while the AI provider takes calls and never says what became of them."""

import asyncio

import httpx
import pytest
from msgspec.structs import replace

from contracts.events import Stage
from services.cli.processes.dev import embedded_product
from shared.settings import load
from shared.upload.saga import OWNER_RETRIES, SAGA
from tests.gemini_server import serving_in_thread
from tests.photos import a_jpeg
from tests.servers import free_port

PHOTO = a_jpeg(160, 120)


class Owner:
    """The owner of one upload, who asks over HTTP."""

    def __init__(self, http):
        self.http = http

    async def hand_over(self):
        answer = await self.http.post(
            "/api/uploads", files={"image": ("photo.jpg", PHOTO)}, data={"email": "ann@example.com"}
        )
        self.upload_id = answer.json()["uploadId"]
        self.token = {"X-Session-Token": answer.json()["sessionToken"]}
        await self.http.post("/api/process", json={"uploadId": self.upload_id}, headers=self.token)
        return await self.end()

    async def retry(self):
        return await self.http.post(f"/api/process/{self.upload_id}/retry", headers=self.token)

    async def end(self):
        """Wait until the run has ended, and return its status."""
        async with asyncio.timeout(30):
            while True:
                answer = await self.http.get(f"/api/status/{self.upload_id}", headers=self.token)
                if answer.json()["status"] in ("completed", "failed"):
                    return answer.json()
                await asyncio.sleep(0.05)


@pytest.fixture
def gemini():
    with serving_in_thread() as server:
        yield server


@pytest.fixture
async def owner(database_url, gemini, tmp_path, monkeypatch):
    """The owner of an upload in a product whose stages do not wait long between their attempts."""
    for stage in (Stage.VALIDATING, Stage.GENERATING):
        monkeypatch.setitem(SAGA, stage, replace(SAGA[stage], backoff=0.01, backoff_max=0.02))
    environ = {
        "DATABASE_URL": database_url,
        "GENERATOR": "gemini",
        "GEMINI_API_KEY": "test",
        "GEMINI_BASE_URL": gemini.url,
        "GENERATOR_MAX_UNKNOWN": "2",
        "PORT": str(free_port()),
    }
    settings = load(environ, data_dir=tmp_path)
    async with (
        embedded_product(settings, tmp_path, stop=asyncio.Event()) as url,
        httpx.AsyncClient(base_url=url, timeout=30) as http,
    ):
        yield Owner(http)


async def test_an_owner_who_tries_again_costs_no_further_call_once_three_have_an_unknown_outcome(owner, gemini):
    """Each retry had allowed three more: 3 calls, then 6, then 9."""
    gemini.use("504")

    error = (await owner.hand_over())["error"]
    after = [gemini.begun]
    for _ in range(2):
        refused = await owner.retry()
        await owner.end()
        after.append(gemini.begun)

    assert after == [3, 3, 3]
    assert (error["code"], error["retryable"]) == ("GENERATION_OUTCOME_UNKNOWN", False)
    assert (refused.status_code, refused.json()["code"]) == (409, "NOT_RETRYABLE")
    assert "without an answer" in refused.json()["detail"]


async def test_calls_of_unknown_outcome_add_up_over_an_owners_retries(owner, gemini):
    """One in each attempt of the run, before a failure that is known. Each retry had begun to count anew."""
    gemini.use("504", "504", "404", "504", "404")

    ends = [await owner.hand_over()]
    for _ in range(2):
        assert (await owner.retry()).status_code == 202
        ends.append(await owner.end())

    assert [end["error"]["retryable"] for end in ends] == [True, True, False]
    assert ends[-1]["error"]["code"] == "GENERATION_OUTCOME_UNKNOWN"
    assert gemini.begun == 5


async def test_an_owner_tries_again_five_times_and_no_more(owner, gemini):
    """Nothing had bounded it: seven retries, seven times 202."""
    gemini.use("404")
    answers, retryable = [], [(await owner.hand_over())["error"]["retryable"]]

    for _ in range(OWNER_RETRIES + 2):
        answers.append(await owner.retry())
        retryable.append((await owner.end())["error"]["retryable"])

    assert [answer.status_code for answer in answers] == [202] * OWNER_RETRIES + [409, 409]
    assert retryable == [True] * OWNER_RETRIES + [False] * 3
    assert f"{OWNER_RETRIES} times" in answers[-1].json()["detail"]
    assert gemini.begun == 1 + OWNER_RETRIES
