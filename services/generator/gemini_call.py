"""One request to Gemini through Google's SDK, and the picture in its answer. The only module that imports the SDK."""

import asyncio
from collections.abc import AsyncIterator, Iterable

import httpx2
import structlog
from google import genai
from google.genai import errors, types

from services.generator import gemini_failures
from services.generator.prompt import PROMPT
from services.generator.provider import GeneratedImage
from shared.imaging import ImageRefused, read_header
from shared.imaging.codec import decode_all
from shared.upload.errors import StageFailure

CONNECT_TIMEOUT = 10.0
MAX_ANSWER = 64 * 1024 * 1024
"""Bytes of an answer that are read; a picture of 4K, as JSON has it, takes a third of that."""

log = structlog.get_logger(__name__)

# Nothing was sent: the call cannot have been billed.
_NEVER_SENT = (
    httpx2.ConnectError,
    httpx2.ConnectTimeout,
    httpx2.PoolTimeout,
    httpx2.ProxyError,
    httpx2.UnsupportedProtocol,
    httpx2.LocalProtocolError,
)
# What the SDK raises on a 200 that is not JSON, or not of the shape it expects.
_UNREADABLE = (ValueError, TypeError, AttributeError)
_BLOCKED = frozenset(
    {
        types.FinishReason.SAFETY,
        types.FinishReason.RECITATION,
        types.FinishReason.BLOCKLIST,
        types.FinishReason.PROHIBITED_CONTENT,
        types.FinishReason.SPII,
        types.FinishReason.IMAGE_SAFETY,
        types.FinishReason.IMAGE_PROHIBITED_CONTENT,
        types.FinishReason.IMAGE_RECITATION,
        types.FinishReason.MODEL_ARMOR,
        types.FinishReason.ESCALATION,
    }
)
_CONFIG = types.GenerateContentConfig(
    response_modalities=["IMAGE"],
    # Either would answer the model with another request, and each is billed.
    automatic_continuation=False,
    automatic_function_calling=types.AutomaticFunctionCallingConfig(disable=True),
)


class AnswerTooLargeError(httpx2.TransportError):
    """An answer of more than MAX_ANSWER bytes. It is not read on."""


class GeminiCall:
    """The SDK with everything off by which it would send a second request.

    Its transport is chosen here, for errors that tell a request never sent from one whose answer was lost.
    """

    def __init__(self, api_key: str, model: str, base_url: str, timeout: float) -> None:
        self._api_key = api_key
        self._model = model
        self._timeout = timeout
        self._http = _http_client(min(CONNECT_TIMEOUT, timeout / 2))
        # All of it is said here, or the SDK would look into the environment for another key, cloud, URL or version.
        self._client = genai.Client(
            vertexai=False,
            api_key=api_key,
            http_options=types.HttpOptions(
                base_url=base_url,
                api_version="v1beta",
                timeout=round(timeout * 1000),  # milliseconds, for each phase of the request
                # Left unset, the SDK's usual transport tries once more after a lost connection, behind our back.
                retry_options=types.HttpRetryOptions(attempts=1),
                httpx_async_client=self._http,
            ),
        )

    async def ask(self, photo: bytes, content_type: str) -> GeneratedImage:
        """Return the picture that Gemini made of the photo. Raises RetryableFailure or FinalFailure."""
        try:
            async with asyncio.timeout(self._timeout):
                answer = await self._send(photo, content_type)
        except (errors.APIError, httpx2.HTTPError, TimeoutError, *_UNREADABLE) as error:
            failure = _failure_of(error)
            log.warning("gemini_call_failed", code=failure.code, detail=self._without_key(error))
        else:
            # Not in the pool for pictures: one that is full would throw away a picture that has been paid for.
            return await asyncio.to_thread(_checked, _picture_in(answer))
        # Outside the `except`: the SDK's error, and every traceback that shows it, quotes Google and perhaps the key.
        try:
            raise failure
        finally:
            del failure, photo  # Its traceback holds this frame: see `CpuPool.run`.

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def _send(self, photo: bytes, content_type: str) -> types.GenerateContentResponse:
        parts = [types.Part.from_bytes(data=photo, mime_type=content_type), types.Part.from_text(text=PROMPT)]
        return await self._client.aio.models.generate_content(
            model=self._model, contents=types.Content(role="user", parts=parts), config=_CONFIG
        )

    def _without_key(self, error: Exception) -> str:
        return f"{type(error).__name__}: {error}".replace(self._api_key, "[key]")[:500]


def _http_client(connect_timeout: float) -> httpx2.AsyncClient:
    async def hurry(request: httpx2.Request) -> None:
        # The SDK gives every phase the whole call's time. With less for this one, "no host" and "no answer" differ.
        request.extensions["timeout"]["connect"] = connect_timeout

    # Kept connections save nothing on calls of a minute, and one that Google has just closed looks like a lost answer.
    limits = httpx2.Limits(max_connections=None, max_keepalive_connections=0)
    return httpx2.AsyncClient(limits=limits, event_hooks={"request": [hurry], "response": [_bound]})


async def _bound(response: httpx2.Response) -> None:
    stream = response.stream
    if isinstance(stream, httpx2.AsyncByteStream):
        response.stream = _BoundedStream(stream)


class _BoundedStream(httpx2.AsyncByteStream):
    """An answer's body, up to MAX_ANSWER bytes. Raises AnswerTooLargeError at the next."""

    def __init__(self, stream: httpx2.AsyncByteStream) -> None:
        self._stream = stream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        received = 0
        async for piece in self._stream:
            received += len(piece)
            if received > MAX_ANSWER:
                raise AnswerTooLargeError("the answer is too large")
            yield piece

    async def aclose(self) -> None:
        await self._stream.aclose()


def _failure_of(error: Exception) -> StageFailure:
    match error:
        case errors.APIError():
            return gemini_failures.from_status(error.code, error.response.headers, error.details)
        case httpx2.HTTPError() if isinstance(error, _NEVER_SENT):
            return gemini_failures.unreachable()
        case TimeoutError() | httpx2.TimeoutException():
            return gemini_failures.timed_out()
        case AnswerTooLargeError():
            return gemini_failures.broken_image()
        case httpx2.HTTPError():
            return gemini_failures.connection_lost()
        case _:
            return gemini_failures.no_image()


def _picture_in(answer: types.GenerateContentResponse) -> bytes:
    if answer.prompt_feedback and answer.prompt_feedback.block_reason:
        raise gemini_failures.content_blocked()
    candidate = next(iter(answer.candidates or ()), types.Candidate())
    if candidate.finish_reason in _BLOCKED:
        raise gemini_failures.content_blocked()
    pictures = list(_pictures((candidate.content and candidate.content.parts) or ()))
    if not pictures:
        raise gemini_failures.no_image()
    return pictures[-1]


def _pictures(parts: Iterable[types.Part]) -> Iterable[bytes]:
    for part in parts:
        # A thinking model shows its drafts as thoughts.
        if part.inline_data and part.inline_data.data and not part.thought:
            yield part.inline_data.data


def _checked(data: bytes) -> GeneratedImage:
    # To the last pixel, although that costs a little: here a damaged picture can be drawn anew, further on it cannot.
    try:
        decode_all(data)
        return GeneratedImage(data=data, content_type=read_header(data).content_type)
    except ImageRefused as refused:
        raise gemini_failures.broken_image() from refused
