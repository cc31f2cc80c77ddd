"""Programs beside us: started, waited for, watched for what they cost, sampled, and ended."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import msgspec
import psutil

from tests.benchmarks.ground import Ground, pid_of
from tests.benchmarks.wire import request
from tests.servers import free_port
from tests.stack import Stack, eventually

CONNECTED = b'"broker_connected"'
"""What a service logs once it publishes and consumes."""
ROOT = Path(__file__).parent.parent.parent


@contextlib.contextmanager
def program(module: str, *arguments: str, env: Mapping[str, str] | None = None) -> Iterator[subprocess.Popen[bytes]]:
    """Run a module of ours until the context is left."""
    surroundings = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)} | dict(env or {})
    process = subprocess.Popen([sys.executable, "-m", module, *arguments], env=surroundings, stdout=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


@contextlib.contextmanager
def bare_http() -> Iterator[tuple[int, subprocess.Popen[bytes]]]:
    """Run the bare HTTP server and return its port, once it answers."""
    port = free_port()
    with program("tests.benchmarks.bare.http", str(port)) as process:
        eventually(lambda: answers(port), within=30, every=0.01)
        yield port, process


@contextlib.contextmanager
def bare_consumer(amqp_url: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run the bare consumer."""
    with program("tests.benchmarks.bare.consumer", amqp_url) as process:
        yield process


def child(work: str, argument: str, *more: str) -> dict[str, float]:
    """Have a piece of work done in a fresh process; return its `seconds`, those of `cpu`, and its `peak` bytes."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks.child", work, argument, *more],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        check=True,
    )
    return msgspec.json.decode(done.stdout)


def answers(port: int) -> bool:
    """Ask a server whether it is ready. Over a bare socket: a client that costs more would slow its start down."""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=2) as connection:
        connection.sendall(request("GET", "/health/ready", Connection="close"))
        return connection.recv(64).startswith(b"HTTP/1.1 20")
    return False


def await_services(stack: Stack, *names: str) -> None:
    """Start services and wait until the gateway, if it is one of them, answers, and all are connected to the broker."""
    stack.start(*names)
    if "gateway" in names:
        stack.wait_ready()
    await_broker(stack)


def await_broker(stack: Stack) -> None:
    """Wait until every service of the stack has said that it is connected to the broker."""
    logs = [stack.folder / f"{name}.log" for name in stack.processes]
    eventually(lambda: all(CONNECTED in log.read_bytes() for log in logs), within=60, every=0.02, or_show=stack.logs)


class CpuMeter:
    """Processor seconds that named processes, with all their children, take between two looks."""

    def __init__(self, pids: Mapping[str, int | None]) -> None:
        self._processes = {name: psutil.Process(pid) for name, pid in pids.items() if pid is not None}
        self._before = self._seconds()

    def taken(self) -> dict[str, float]:
        """Return each one's seconds since the last look."""
        before, self._before = self._before, self._seconds()
        return {name: self._before[name] - seconds for name, seconds in before.items()}

    def _seconds(self) -> dict[str, float]:
        return {name: sum(map(_seconds, _family(process))) for name, process in self._processes.items()}


def meter(stack: Stack, ground: Ground) -> CpuMeter:
    """Watch the services, the servers and ourselves."""
    pids = {name: process.pid for name, process in stack.processes.items()}
    servers = {"postgres": pid_of(ground.postgres), "rabbitmq": pid_of(ground.rabbit)}
    return CpuMeter({**pids, **servers, "load generator": os.getpid()})


@contextlib.contextmanager
def sampled(processes: Mapping[str, subprocess.Popen[bytes]], folder: Path | None, label: str) -> Iterator[None]:
    """Have py-spy write each process's folded stacks to `folder`; do nothing without one."""
    recorders = []
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        # A thread counts while it holds the interpreter's lock: on a busy machine py-spy takes sleepers for busy.
        how = "--format raw --rate 200 --duration 3600 --threads --gil --nonblocking"
        spy = [str(Path(sys.executable).with_name("py-spy")), "record", *how.split()]
        for name, process in processes.items():
            target = ["--pid", str(process.pid), "--output", str(folder / f"{label}-{name}.folded")]
            recorders.append(subprocess.Popen([*spy, *target], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
        time.sleep(1)
    try:
        yield
    finally:
        for recorder in recorders:
            recorder.send_signal(signal.SIGINT)
        for recorder in recorders:
            recorder.wait()


def _family(process: psutil.Process) -> Sequence[psutil.Process]:
    if process.pid == os.getpid():
        return [process]
    return [process, *process.children(recursive=True)]


def _seconds(process: psutil.Process) -> float:
    """Of one process and of those of its children that have ended."""
    with contextlib.suppress(psutil.NoSuchProcess):
        times = process.cpu_times()
        ended = 0.0 if process.pid == os.getpid() else times.children_user + times.children_system
        return times.user + times.system + ended
    return 0.0
