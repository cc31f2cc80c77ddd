"""A server program as a child of this process, in a folder of its own. Program and folder are gone when we are."""

import os
import pwd
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from tests.servers.power import NoServerError

_PATIENCE = 100.0


class Program:
    """What private servers have in common. A subclass says how it starts and stops, and whether it answers."""

    name: str
    quit_by: signal.Signals
    """The signal at which the program ends at once without leaving anything in the system."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix=f"darkroom-{self.name}-"))
        self._log = self.folder / "log"
        self._process: subprocess.Popen[bytes] | None = None
        reaper = [sys.executable, str(Path(__file__).with_name("reaper.py")), str(self.folder), str(int(self.quit_by))]
        self._reaper = subprocess.Popen(reaper, stdin=subprocess.PIPE, start_new_session=True)

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    def start(self) -> None:
        raise NotImplementedError

    def stop(self) -> None:
        raise NotImplementedError

    def answers(self) -> bool:
        raise NotImplementedError

    def launch(self, command: Sequence[str], *, env: Mapping[str, str] | None = None, **run_as: Any) -> None:
        """Start the program as the leader of a new process group and wait until it answers."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                command,
                cwd=self.folder,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                process_group=0,
                **run_as,
            )
        self._tell_reaper(self._process.pid)
        self._wait_until_it_answers(self._process)

    def terminate(self, how: signal.Signals) -> None:
        """Send the program a signal and wait for its end."""
        if self._process is None:
            return
        self._process.send_signal(how)
        self._process.wait(_PATIENCE)
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)  # what it left behind, as Erlang leaves its port mapper
        self._forget()

    def crash(self) -> None:
        if self._process is None:
            return
        family = self._family()
        for process in family:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        self._process.wait(_PATIENCE)
        until = time.monotonic() + _PATIENCE
        while any(map(_lives, family)) and time.monotonic() < until:
            time.sleep(0.01)
        self._forget()

    def pause(self) -> None:
        for process in self._family():
            with suppress(psutil.NoSuchProcess):  # a session that has just ended
                process.suspend()

    def resume(self) -> None:
        for process in reversed(self._family()):
            with suppress(psutil.NoSuchProcess):
                process.resume()

    def ensure_up(self) -> None:
        self.resume()
        if self._process is None:
            self.start()

    def close(self) -> None:
        assert self._reaper.stdin is not None
        self.resume()
        self._reaper.stdin.close()
        if self._process is not None:
            self._process.wait(_PATIENCE)
        self._reaper.wait(_PATIENCE)

    def _wait_until_it_answers(self, process: subprocess.Popen[bytes]) -> None:
        until = time.monotonic() + _PATIENCE
        while not self.answers():
            if process.poll() is not None or time.monotonic() > until:
                tail = self._log.read_text(errors="replace")[-2000:]
                msg = f"{self.name} did not start (exit status {process.poll()}). Its log ends:\n{tail}"
                self.close()
                raise NoServerError(msg)
            time.sleep(0.05)

    def _family(self) -> list[psutil.Process]:
        if self._process is None or self._process.poll() is not None:
            return []
        parent = psutil.Process(self._process.pid)
        return [parent, *parent.children(recursive=True)]

    def _forget(self) -> None:
        self._process = None
        self._tell_reaper(0)

    def _tell_reaper(self, group: int) -> None:
        assert self._reaper.stdin is not None
        self._reaper.stdin.write(f"{group}\n".encode())
        self._reaper.stdin.flush()


def not_as_root() -> dict[str, Any]:
    """Return the arguments by which subprocess starts a program that refuses to run as root; none if we are not."""
    if os.geteuid() != 0:
        return {}
    nobody = pwd.getpwnam("nobody")
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}


def _lives(process: psutil.Process) -> bool:
    """Return whether a process can still do anything. A dead one whose parent has not noticed yet cannot."""
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
