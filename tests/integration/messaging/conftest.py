"""Log lines are kept for the test that asks, instead of being drawn with every local variable."""

import pytest
import structlog.testing


@pytest.fixture(autouse=True)
def lines():
    """The log lines of the test."""
    with structlog.testing.capture_logs() as captured:
        yield captured
