"""GeminiProvider against a Gemini that speaks real HTTP: what every answer means, and that a call is one request."""

import asyncio
import contextlib
import logging
import socket
import subprocess
import sys
import traceback
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import pyvips
import structlog.testing

from services.generator.gemini import DEFAULT_MODEL, GeminiProvider, model_problem
from shared.upload.errors import FinalFailure, RetryableFailure, StageFailure
from tests.gemini_server import Gemini, serving, serving_in_thread

if TYPE_CHECKING:
    from services.generator.provider import Provider

KEY = "AIzaTheSecretKeyOfThisTest"


def a_photo(width: int = 80, height: int = 70) -> bytes:
    return bytes(pyvips.Image.black(width, height, bands=3).jpegsave_buffer())


PHOTO = a_photo()


@pytest.fixture
async def gemini() -> AsyncIterator[Gemini]:
    async with serving() as server:
        yield server


@contextlib.asynccontextmanager
async def a_provider(url: str, **settings: object) -> AsyncIterator[GeminiProvider]:
    provider = GeminiProvider(KEY, base_url=url, **{"timeout": 20.0, **settings})  # type: ignore[arg-type]
    try:
        yield provider
    finally:
        await provider.close()


async def the_failure(url: str, **settings: object) -> StageFailure:
    async with a_provider(url, **settings) as provider:
        with pytest.raises(StageFailure) as caught:
            await provider.generate(PHOTO, "image/jpeg")
    return caught.value


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.01)


async def test_a_photo_becomes_a_picture(gemini: Gemini) -> None:
    async with a_provider(gemini.url) as provider:
        picture = await provider.generate(PHOTO, "image/jpeg")
    drawn = pyvips.Image.new_from_buffer(picture.data, "")
    assert picture.content_type == "image/png"
    assert (drawn.width, drawn.height, drawn.avg()) == (80, 70, 255)
    assert (gemini.begun, gemini.drawn) == (1, 1)
    assert gemini.begun_by_model == {DEFAULT_MODEL: 1}


async def test_the_request_carries_the_photo_the_prompt_and_a_wish_for_an_image(gemini: Gemini) -> None:
    async with a_provider(gemini.url, timeout=90.0) as provider:
        await provider.generate(PHOTO, "image/jpeg")
    photo, prompt = gemini.last_request["contents"][0]["parts"]
    assert photo["inlineData"]["mime_type"] == "image/jpeg"
    assert "photo" in prompt["text"]
    assert gemini.last_request["generationConfig"] == {"responseModalities": ["IMAGE"]}
    assert gemini.last_headers["x-goog-api-key"] == KEY
    assert gemini.last_headers["X-Server-Timeout"] == "90"


def test_it_is_a_provider() -> None:
    provider: Provider = GeminiProvider(KEY)
    assert (provider.name, provider.model) == ("gemini", DEFAULT_MODEL)


@pytest.mark.parametrize(
    ("mode", "code", "outcome_unknown"),
    [
        ("429", "PROVIDER_RATE_LIMITED", False),
        ("500", "PROVIDER_UNAVAILABLE", False),
        ("502", "PROVIDER_UNAVAILABLE", True),
        ("503", "PROVIDER_UNAVAILABLE", False),
        ("504", "PROVIDER_UNAVAILABLE", True),
        ("529", "PROVIDER_UNAVAILABLE", False),
        ("408", "PROVIDER_UNAVAILABLE", False),
        ("drop", "PROVIDER_UNREACHABLE", True),
        ("text", "PROVIDER_NO_IMAGE", False),
        ("draft", "PROVIDER_NO_IMAGE", False),
        ("continuation", "PROVIDER_NO_IMAGE", False),
        ("garbage", "PROVIDER_NO_IMAGE", False),
        ("huge", "PROVIDER_BROKEN_IMAGE", False),
        ("blocked:NO_IMAGE", "PROVIDER_NO_IMAGE", False),
        ("broken", "PROVIDER_BROKEN_IMAGE", False),
        ("truncated", "PROVIDER_BROKEN_IMAGE", False),
    ],
)
async def test_a_fault_that_may_pass_is_retryable_and_costs_one_request(
    gemini: Gemini, mode: str, code: str, outcome_unknown: bool
) -> None:
    gemini.use(mode)
    failure = await the_failure(gemini.url)
    assert isinstance(failure, RetryableFailure)
    assert (failure.code, failure.outcome_unknown, failure.retry_after) == (code, outcome_unknown, 0.0)
    assert gemini.begun == 1


@pytest.mark.parametrize(
    ("mode", "code", "replayable"),
    [
        ("blocked", "CONTENT_BLOCKED", False),
        ("blocked:SAFETY", "CONTENT_BLOCKED", False),
        ("blocked:IMAGE_SAFETY", "CONTENT_BLOCKED", False),
        ("blocked:PROHIBITED_CONTENT", "CONTENT_BLOCKED", False),
        ("blocked:IMAGE_PROHIBITED_CONTENT", "CONTENT_BLOCKED", False),
        ("400", "PROVIDER_REFUSED", False),
        ("413", "PROVIDER_REFUSED", False),
        ("302", "PROVIDER_REFUSED", True),
        ("404", "PROVIDER_MODEL_UNKNOWN", True),
        ("auth:400", "PROVIDER_AUTH", True),
        ("auth:401", "PROVIDER_AUTH", True),
        ("auth:403", "PROVIDER_AUTH", True),
    ],
)
async def test_a_refusal_is_final_and_costs_one_request(gemini: Gemini, mode: str, code: str, replayable: bool) -> None:
    gemini.use(mode)
    failure = await the_failure(gemini.url)
    assert isinstance(failure, FinalFailure)
    assert (failure.code, failure.replayable) == (code, replayable)
    assert gemini.begun == 1


async def test_a_photo_that_google_cannot_read_is_refused(gemini: Gemini) -> None:
    async with a_provider(gemini.url) as provider:
        with pytest.raises(FinalFailure, match="PROVIDER_REFUSED"):
            await provider.generate(b"not a photo", "image/jpeg")


@pytest.mark.parametrize(
    ("mode", "seconds"),
    [
        ("429:7", 7.0),
        ("429:info=22s", 22.0),
        ("429:info=8.941621227s", 8.941621227),
        ("429:7,info=22s", 22.0),
        ("429:30,info=22s", 30.0),
        ("503:12", 12.0),
        ("429:soon", 0.0),
        ("429:-5", 0.0),
        ("429:nan", 0.0),
        ("429:9" + "9" * 30, 30 * 86_400.0),
    ],
)
async def test_the_wait_that_google_asks_for_is_never_shortened(gemini: Gemini, mode: str, seconds: float) -> None:
    gemini.use(mode)
    failure = await the_failure(gemini.url)
    assert isinstance(failure, RetryableFailure)
    assert failure.retry_after == seconds


@pytest.mark.parametrize(("ahead", "least", "most"), [(60, 58, 61), (-60, 0, 0)])
async def test_a_wait_until_a_date_is_counted_from_googles_clock(
    gemini: Gemini, ahead: int, least: int, most: int
) -> None:
    gemini.use("429:" + format_datetime(datetime.now(UTC) + timedelta(seconds=ahead), usegmt=True))
    failure = await the_failure(gemini.url)
    assert isinstance(failure, RetryableFailure)
    assert least <= failure.retry_after <= most


@pytest.mark.parametrize("mode", ["hang", "slow:10"])
async def test_a_call_that_takes_too_long_has_an_unknown_outcome(gemini: Gemini, mode: str) -> None:
    gemini.use(mode)
    failure = await the_failure(gemini.url, timeout=0.3)
    assert isinstance(failure, RetryableFailure)
    assert (failure.code, failure.outcome_unknown) == ("PROVIDER_TIMED_OUT", True)
    await until(lambda: gemini.abandoned == 1)
    assert gemini.begun == 1


async def test_a_refused_connection_was_never_sent() -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    failure = await the_failure(f"http://127.0.0.1:{port}")
    assert isinstance(failure, RetryableFailure)
    assert (failure.code, failure.outcome_unknown) == ("PROVIDER_UNREACHABLE", False)


async def test_a_host_without_a_name_was_never_sent_anything() -> None:
    failure = await the_failure("http://gemini.invalid")
    assert isinstance(failure, RetryableFailure)
    assert (failure.code, failure.outcome_unknown) == ("PROVIDER_UNREACHABLE", False)


@pytest.fixture
def a_full_backlog() -> Iterator[str]:
    """Return the URL of a host that answers no connection, like a firewall that drops packets."""
    with contextlib.ExitStack() as sockets:
        server = sockets.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(3):
            waiting = sockets.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(server.getsockname())
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


async def test_a_connection_that_never_comes_about_was_never_sent(a_full_backlog: str) -> None:
    failure = await the_failure(a_full_backlog, timeout=1.0)
    assert isinstance(failure, RetryableFailure)
    assert (failure.code, failure.outcome_unknown) == ("PROVIDER_UNREACHABLE", False)


async def test_cancelling_closes_the_request(gemini: Gemini) -> None:
    gemini.use("hang")
    async with a_provider(gemini.url) as provider:
        call = asyncio.create_task(provider.generate(PHOTO, "image/jpeg"))
        await until(lambda: gemini.begun == 1)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        await until(lambda: gemini.abandoned == 1)
    assert gemini.begun == 1


@pytest.mark.parametrize("mode", ["auth:400", "auth:403", "429:7", "garbage", "drop"])
async def test_the_key_and_the_address_stay_out_of_errors_and_the_key_out_of_logs(
    gemini: Gemini, mode: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    gemini.use(mode)
    with structlog.testing.capture_logs() as logs:
        failure = await the_failure(gemini.url)
    told = "".join(traceback.format_exception(failure)) + repr(vars(failure))
    assert KEY not in told
    assert "api_key" not in told
    assert gemini.url not in str(failure)
    assert logs
    assert KEY not in repr(logs) + caplog.text


async def test_the_log_says_what_google_said(gemini: Gemini) -> None:
    gemini.use("auth:403")
    with structlog.testing.capture_logs() as logs:
        await the_failure(gemini.url)
    assert "Consumer 'api_key:[key]' is not known." in logs[0]["detail"]


async def test_calls_at_the_same_moment_share_one_sdk(gemini: Gemini) -> None:
    gemini.use("slow:0.2")
    async with a_provider(gemini.url) as provider:
        pictures = await asyncio.gather(*(provider.generate(a_photo(90 + n), "image/jpeg") for n in range(4)))
    widths = [pyvips.Image.new_from_buffer(picture.data, "").width for picture in pictures]
    assert widths == [90, 91, 92, 93]
    assert set(gemini.begun_by_image.values()) == {1}


async def test_the_environment_cannot_send_the_call_elsewhere(gemini: Gemini, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOOGLE_GENAI_USE_VERTEXAI", "true")
    monkeypatch.setenv("GOOGLE_API_KEY", "another")
    monkeypatch.setenv("GOOGLE_GEMINI_BASE_URL", "http://gemini.invalid")
    monkeypatch.setenv("GOOGLE_GENAI_API_VERSION", "v1")
    monkeypatch.setenv("GOOGLE_GENAI_HTTP_CLIENT", "httpx")
    async with a_provider(gemini.url) as provider:
        await provider.generate(PHOTO, "image/jpeg")
    assert gemini.last_headers["x-goog-api-key"] == KEY


@pytest.mark.parametrize("model", ["imagen-4.0-generate-001", "models/imagen-3.0-capability-001", ""])
def test_a_model_that_cannot_draw_from_a_photo_is_refused_before_any_call(model: str) -> None:
    assert model_problem(model)
    with pytest.raises(ValueError, match="model"):
        GeminiProvider(KEY, model)


@pytest.mark.parametrize("key", ["", " ", "two words", "naïve", "line\nbreak"])
def test_a_key_that_no_header_can_carry_is_refused_and_not_quoted(key: str) -> None:
    with pytest.raises(ValueError, match="key") as caught:
        GeminiProvider(key)
    assert not key.strip() or key not in str(caught.value)


@pytest.mark.parametrize("url", ["example.com", "ftp://example.com"])
def test_a_base_url_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="URL"):
        GeminiProvider(KEY, base_url=url)


def test_the_sdk_is_loaded_by_the_first_call_and_not_before() -> None:
    program = """
import asyncio, sys
from services.generator.gemini import GeminiProvider
from shared.upload.errors import StageFailure
provider = GeminiProvider("key", base_url=sys.argv[1])
assert not {"google.genai", "httpx2", "pydantic", "pyvips"} & set(sys.modules)
async def main():
    await provider.generate(sys.stdin.buffer.read(), "image/jpeg")
    await provider.close()
asyncio.run(main())
assert "google.genai" in sys.modules
"""
    with serving_in_thread() as server:
        run = subprocess.run(
            [sys.executable, "-c", program, server.url],
            input=PHOTO,
            capture_output=True,
            check=False,
            cwd=Path(__file__).parents[3],
            timeout=60,
        )
        assert run.returncode == 0, run.stderr.decode()
        assert server.drawn == 1
