"""The stack in containers, one a session. Where Docker does not answer the tests fail: skipped looks like passed."""

from collections.abc import Iterator

import pytest

from tests.containers.compose import ComposeStack


@pytest.fixture(scope="session")
def running() -> Iterator[ComposeStack]:
    """Return the whole stack, every container well."""
    stack = ComposeStack()
    try:
        stack.up()
        yield stack
    finally:
        stack.down()


@pytest.fixture
def stack(running: ComposeStack) -> Iterator[ComposeStack]:
    """Return the stack to a test that may kill and stop its containers; all of them run again afterwards."""
    yield running
    running.start_what_stopped()
    running.wait_until_well()


@pytest.fixture
def three_generators(running: ComposeStack) -> Iterator[ComposeStack]:
    """Return the stack with three generators; there is one again afterwards."""
    running.up("--no-recreate", "--scale", "generator=3")
    yield running
    running.up("--no-recreate")
