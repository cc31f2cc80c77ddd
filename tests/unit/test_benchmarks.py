"""Every benchmark that has a name can be begun."""

import inspect
from importlib import import_module

import pytest

from tests.benchmarks.__main__ import NAMES


@pytest.mark.parametrize("name", NAMES)
def test_a_benchmark_is_a_module_with_a_run(name):
    assert inspect.iscoroutinefunction(import_module(f"tests.benchmarks.{name}").run)
