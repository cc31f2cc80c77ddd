"""Ends a private server and removes its folder once the test session is gone, however it went. Run as a script.

The session holds the other end of this program's standard input and writes the process group to end, or 0 for none.
A pipe closes with its holder even where that was killed with SIGKILL, on Linux and macOS alike.
"""

import os
import shutil
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path

_GRACE = 3.0


def end_group(group: int, how: signal.Signals) -> None:
    """End a process group: by the signal that it obeys at once, and by SIGKILL if it is there after a while."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(group, how)
        until = time.monotonic() + _GRACE
        while time.monotonic() < until:
            os.killpg(group, 0)
            time.sleep(0.05)
        os.killpg(group, signal.SIGKILL)


def main(folder: Path, how: signal.Signals) -> None:
    group = 0
    for line in sys.stdin:
        group = int(line)
    if group:
        end_group(group, how)
    shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), signal.Signals(int(sys.argv[2])))
