"""A real Chromium, the real services behind it, a Gemini that fails on demand and a PostHog that listens."""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from playwright.sync_api import Browser, sync_playwright

from tests.browser.posthog_server import Posthog, serving_posthog
from tests.browser.visitor import Visitor
from tests.gemini_server import Gemini, serving_in_thread
from tests.photos import a_jpeg
from tests.servers import PostgresServer, RabbitServer
from tests.stack import SERVICES, Stack

CHROMIUM = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


def chromium_program() -> str | None:
    """Return the path of the browser, or None where there is none."""
    return next(filter(None, map(shutil.which, CHROMIUM)), None)


# Not for the session: while Playwright runs, no other test of this process could run an event loop.
@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """A Chromium. An error where there is none: a test that was skipped would look like one that passed."""
    program = chromium_program()
    if program is None:
        pytest.fail(f"no {', '.join(CHROMIUM)} on PATH: run `apt-get install chromium` or the like", pytrace=False)
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=program, args=FLAGS)
        yield chromium
        chromium.close()


@pytest.fixture(scope="session")
def posthog() -> Iterator[Posthog]:
    """Where the pages' captures go."""
    with serving_posthog() as server:
        yield server


@pytest.fixture(scope="session")
def gemini_server() -> Iterator[Gemini]:
    """The AI provider, one for the session; a test takes `gemini`."""
    with serving_in_thread() as server:
        yield server


@pytest.fixture
def gemini(gemini_server: Gemini) -> Iterator[Gemini]:
    """The AI provider, drawing at once; the next test finds it so again."""
    gemini_server.reset()
    yield gemini_server
    gemini_server.reset()


@pytest.fixture(scope="session")
def services(
    postgres: PostgresServer,
    template_database: str,
    rabbit: RabbitServer,
    gemini_server: Gemini,
    posthog: Posthog,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Stack]:
    """The services, one set for all browser tests: a visitor sees only their own uploads anyway."""
    env = {
        "GENERATOR": "gemini",
        "GEMINI_API_KEY": "x",
        "GEMINI_BASE_URL": gemini_server.url,
        "GENERATOR_TIMEOUT": "20",
        "POSTHOG_API_KEY": "phc_test",
        "POSTHOG_HOST": posthog.url,
    }
    with ExitStack() as ending:
        database_url = postgres.create_database(template=template_database)
        ending.callback(postgres.drop_database, database_url)
        amqp_url = rabbit.create_vhost()
        ending.callback(rabbit.delete_vhost, amqp_url)
        stack = ending.enter_context(Stack(tmp_path_factory.mktemp("services"), database_url, amqp_url, env))
        # Longer than the services take by themselves: a browser may be starting beside them.
        stack.start(*SERVICES)
        stack.wait_ready(within=90)
        yield stack


@pytest.fixture(scope="session")
def shots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where screenshots are kept: the folder that BROWSER_ARTIFACTS names, or one of the session's own."""
    named = os.environ.get("BROWSER_ARTIFACTS")
    folder = Path(named) if named else tmp_path_factory.mktemp("screenshots")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A photo on a visitor's disk."""
    file = tmp_path_factory.mktemp("photos") / "coffee.jpg"
    file.write_bytes(a_jpeg(900, 600))
    return file


@pytest.fixture
def visit(browser: Browser, services: Stack, gemini: Gemini, shots: Path) -> Iterator[Callable[..., Visitor]]:
    """Gives visitors, each with a browser profile of their own; what was wrong with what they saw fails the test."""
    visitors: list[Visitor] = []

    def arrive(url: str = services.url, **options) -> Visitor:
        visitors.append(Visitor(browser, url, shots, **options))
        return visitors[-1]

    yield arrive
    faults = [fault for visitor in visitors for fault in visitor.leave()]
    assert not faults, "\n".join([*faults, services.logs()])


@pytest.fixture
def visitor(visit: Callable[..., Visitor]) -> Visitor:
    """A person at a wide screen."""
    return visit(viewport={"width": 1280, "height": 860})
