"""Storer: a generated picture in, a stored result out."""

from functools import partial

from contracts.events import Stage
from services.storer.handler import store_result
from shared.bootstrap import Runtime


def attach(runtime: Runtime) -> None:
    """Run the storing stage in this process."""
    runtime.attach_stage(Stage.STORING, partial(store_result, objects=runtime.objects))
