"""A person at a browser of their own, and all that must hold of every page they see."""

import re
from collections.abc import Iterable
from pathlib import Path

from playwright.sync_api import Browser, ConsoleMessage, Page, Request, expect

STATUS_IN_CONSOLE = re.compile(r"Failed to load resource: the server responded with a status of (\d+)")
TOKEN_PREFIX = "darkroom.upload."


class Visitor:
    """One browser profile. `faults` collects what no page may do: errors in the console, tokens in addresses.

    `expected` names what a test brings about: HTTP statuses, or a part of the console's words.
    """

    def __init__(self, browser: Browser, url: str, shots: Path, **options) -> None:
        self.context = browser.new_context(base_url=url, **{"locale": "en-GB", "color_scheme": "dark", **options})
        self.context.set_default_timeout(20_000)
        self.shots = shots
        self.expected: set[int | str] = set()
        self.requests: list[tuple[str, dict[str, str]]] = []
        self.complaints: list[str] = []
        self.tokens: set[str] = set()
        self.context.on("request", self._note_request)
        self.context.on("console", self._note_console)
        self.context.on("weberror", lambda error: self.complaints.append(f"uncaught: {error.error}"))
        self.page = self.context.new_page()

    def hand_over(self, photo: Path, email: str = "ann@example.com", page: Page | None = None) -> str:
        """Upload a photo as a person does, and return the job's id once its page is there."""
        page = page or self.page
        page.goto("/")
        page.get_by_label("Choose a photo").set_input_files(photo)
        page.get_by_label("E-mail").fill(email)
        page.get_by_role("button", name="Develop this photo").click()
        page.wait_for_url("**/processing/*")
        job_id = page.url.rsplit("/", 1)[1]
        self.token(job_id)
        return job_id

    def token(self, job_id: str) -> str:
        """Return an upload's session token, from where the page keeps it."""
        kept = self.page.evaluate("(key) => JSON.parse(localStorage.getItem(key))", TOKEN_PREFIX + job_id)
        self.tokens.add(kept["token"])
        return kept["token"]

    def sees(self, heading: str, *, within: float = 30) -> None:
        """Wait until the page's one heading says this."""
        expect(self.page.get_by_role("heading", level=1)).to_have_text(heading, timeout=within * 1000)

    def asked_for(self, part: str) -> list[dict[str, str]]:
        """Return the headers of the requests whose address has `part` in it."""
        return [headers for url, headers in self.requests if part in url]

    def shoot(self, name: str) -> None:
        """Keep what is seen, for a person to look at."""
        self.page.screenshot(path=self.shots / f"{name}.png", full_page=True)

    def leave(self) -> list[str]:
        """Close the browser, and say what was wrong with what it saw."""
        self.context.close()
        leaks = [
            f"token in {url if token in url else f'the referrer of {url}'}"
            for url, headers in self.requests
            for token in self.tokens
            if token in url or token in headers.get("referer", "")
        ]
        return leaks + [words for words in self.complaints if not self._foreseen(words)]

    def _note_request(self, request: Request) -> None:
        self.requests.append((request.url, request.headers))

    def _note_console(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"}:
            self.complaints.append(f"console {message.type}: {message.text} ({message.location.get('url')})")

    def _foreseen(self, words: str) -> bool:
        status = STATUS_IN_CONSOLE.search(words)
        named: Iterable[str] = (part for part in self.expected if isinstance(part, str))
        return (status is not None and int(status[1]) in self.expected) or any(part in words for part in named)
