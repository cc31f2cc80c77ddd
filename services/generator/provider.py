"""The AI provider as the generator sees it; `gemini.py` calls the real one, `local.py` stands in for it."""

from typing import Protocol

import msgspec


class GeneratedImage(msgspec.Struct, frozen=True):
    """A finished picture as the provider gave it: the file's bytes and their media type."""

    data: bytes
    content_type: str


class Provider(Protocol):
    """One who draws a new picture from a photo. A call is slow and may cost money; whoever calls decides on another."""

    @property
    def name(self) -> str:
        """Who draws: `gemini` or `local`. Ends up in the event."""
        ...

    @property
    def model(self) -> str:
        """The provider's own name of what draws. Ends up in the event."""
        ...

    async def generate(self, image: bytes, content_type: str) -> GeneratedImage:
        """Draw a picture from the photo in `image`.

        Raises RetryableFailure where another try may help, FinalFailure where it cannot.
        """
        ...
