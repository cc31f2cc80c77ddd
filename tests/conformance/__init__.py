"""One suite for every adapter of the object store, and what only one of them can show."""

import pytest

pytest.register_assert_rewrite("tests.conformance.object_store")
