"""The stack in containers, one a session. Where Docker does not answer the tests fail: skipped looks like passed."""

from collections.abc import Iterator

import pytest

from tests.containers.compose import ComposeStack


@pytest.fixture(scope="session")
def running() -> Iterator[ComposeStack]:
    """Give the whole stack, every container well."""
    stack = ComposeStack()
    try:
        stack.up()
        yield stack
    finally:
        stack.down()


@pytest.fixture
def stack(running: ComposeStack) -> Iterator[ComposeStack]:
    """Give the stack to a test that may kill and scale it; all of it runs again, one of each, afterwards."""
    yield running
    running.up("--no-recreate")
