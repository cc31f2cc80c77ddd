"""Watermarker: a stored result in, a watermarked preview out."""

from functools import partial

from contracts.events import Stage
from services.watermarker.handler import watermark_preview
from shared.bootstrap import Runtime


def attach(runtime: Runtime) -> None:
    """Run the watermarking stage in this process."""
    runtime.attach_stage(Stage.WATERMARKING, partial(watermark_preview, objects=runtime.objects, cpu=runtime.cpu))
