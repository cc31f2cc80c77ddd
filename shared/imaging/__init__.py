"""Pictures from strangers: refuse what is none or too large, decode the rest in bounded memory, off the event loop."""

from shared.cpu_pool import CpuBusyError, CpuPool
from shared.imaging.codec import read_header
from shared.imaging.libvips import limit_threads
from shared.imaging.limits import ImageHeader, ImageRefused, Refusal

__all__ = ["CpuBusyError", "CpuPool", "ImageHeader", "ImageRefused", "Refusal", "limit_threads", "read_header"]
