"""libvips, made safe for pictures from strangers: importing this does it, so import it before loading any."""

import logging

import pyvips

# A stranger's file decides how many warnings there are of it: 3 MB of doubled chunks gave 70 MB of log. What is wrong
# with a picture is told to whoever sent it.
logging.getLogger("pyvips").setLevel(logging.ERROR)

# Deny by class, then allow four: a loader that a later libvips adds stays out without anybody thinking of it. It also
# holds where libvips picks the loader itself, as its thumbnail does.
_LOADERS = ("VipsForeignLoadJpeg", "VipsForeignLoadPng", "VipsForeignLoadWebp", "VipsForeignLoadHeif")

pyvips.block_untrusted_set(state=True)
pyvips.operation_block_set("VipsForeignLoad", state=True)
for _loader in _LOADERS:
    pyvips.operation_block_set(_loader, state=False)

# No picture is worked on twice, so that a cache of operations would only keep finished pictures in memory.
pyvips.cache_set_max(0)


def limit_threads(threads: int) -> None:
    """Let each picture be worked on by at most `threads` threads. Call at start, before any picture; 0 is one per core.

    A process may use as many threads as this times CpuPool's `running`.
    """
    pyvips.concurrency_set(threads)
