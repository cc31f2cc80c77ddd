"""Photo in, a picture drawn by a Gemini image model out. Google's SDK is loaded at the first call, not before."""

import asyncio
import re
from typing import TYPE_CHECKING, ClassVar
from urllib.parse import urlsplit

from services.generator.provider import GeneratedImage

if TYPE_CHECKING:
    from services.generator.gemini_call import GeminiCall

DEFAULT_MODEL = "gemini-3.1-flash-image"
DEFAULT_BASE_URL = "https://generativelanguage.googleapis.com"
# A drawing takes 60 to 90 seconds. Google is told the limit too, and refuses one below 10 seconds.
DEFAULT_TIMEOUT = 150.0

_A_KEY = re.compile(r"[!-~]+")


def model_problem(model: str) -> str | None:
    """Say, for the person who sets GEMINI_MODEL, why this model cannot be used; None where nothing is known against it.

    Imagen models are refused. Under an API key they only ever drew from words: the photo would be thrown away, and the
    uploader given a stranger's picture. Google has shut them down since, and its SDK no longer calls them.
    """
    if not model.strip():
        return "no Gemini model is named"
    if model.removeprefix("models/").startswith("imagen"):
        return f"the model {model} cannot draw from a photo; use a Gemini image model such as {DEFAULT_MODEL}"
    return None


class GeminiProvider:
    """Sends exactly one HTTP request for one `generate`: nothing below the caller tries again, as each may be billed.

    `timeout` is in seconds and covers the request; an empty `base_url` is Google's own. Raises ValueError where a
    setting cannot work at all.
    """

    name: ClassVar[str] = "gemini"

    def __init__(
        self,
        api_key: str,
        model: str = DEFAULT_MODEL,
        base_url: str = "",
        timeout: float = DEFAULT_TIMEOUT,
    ) -> None:
        base_url = base_url or DEFAULT_BASE_URL
        if problem := model_problem(model) or _key_problem(api_key) or _url_problem(base_url):
            raise ValueError(problem)
        self.model = model
        self._api_key = api_key.strip()
        self._base_url = base_url
        self._timeout = timeout
        self._call: GeminiCall | None = None
        self._loading = asyncio.Lock()

    async def generate(self, image: bytes, content_type: str) -> GeneratedImage:
        """Have a picture drawn from the photo in `image`, and read it to its last pixel.

        Raises RetryableFailure or FinalFailure; `outcome_unknown` is set where the call may have been billed without an
        answer. Cancelling closes the connection, but Google may draw on: that outcome is unknown as well.
        """
        call = await self._loaded()
        return await call.ask(image, content_type)

    async def close(self) -> None:
        """Close what the first call opened."""
        if self._call is not None:
            await self._call.close()

    async def _loaded(self) -> "GeminiCall":
        async with self._loading:
            if self._call is None:
                self._call = await asyncio.to_thread(self._load)
        return self._call

    def _load(self) -> "GeminiCall":
        # The SDK takes 60 MB and over a second: a worker that has nothing to draw does without, and the loop goes on.
        from services.generator.gemini_call import GeminiCall  # noqa: PLC0415 — for the reason above

        return GeminiCall(self._api_key, self.model, self._base_url, self._timeout)


def _key_problem(api_key: str) -> str | None:
    # Anything else fails in the HTTP library, with an error that quotes the key.
    return None if _A_KEY.fullmatch(api_key.strip()) else "the API key is empty or has characters that no key has"


def _url_problem(base_url: str) -> str | None:
    parts = urlsplit(base_url)
    return None if parts.scheme in {"http", "https"} and parts.hostname else "the base URL is not an http(s) URL"
