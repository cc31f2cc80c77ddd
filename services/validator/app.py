"""Validator: an upload's original in, a verdict out."""

from functools import partial

from contracts.events import Stage
from services.validator.handler import validate_image
from shared.bootstrap import Runtime


def attach(runtime: Runtime) -> None:
    """Run the validating stage in this process."""
    runtime.attach_stage(Stage.VALIDATING, partial(validate_image, objects=runtime.objects, cpu=runtime.cpu))
