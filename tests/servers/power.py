"""What can be done to a server from outside: switch it off and on, crash it, freeze it."""

import random
import socket
from typing import NoReturn, Protocol


class NoServerError(RuntimeError):
    """A server that the tests need is not to be had; the message says what to install or to set."""


class Power(Protocol):
    """The switch of one server. After each outage it comes back at the same address with the same data."""

    def start(self) -> None:
        """Bring the server up and wait until it answers."""

    def stop(self) -> None:
        """Shut the server down in good order."""

    def crash(self) -> None:
        """End the server at once, without a word."""

    def pause(self) -> None:
        """Freeze the server: connections stay open and nothing answers."""

    def resume(self) -> None:
        """Let a frozen server go on."""

    def ensure_up(self) -> None:
        """Bring the server back from any of these."""

    def close(self) -> None:
        """End the server for good and remove what it left."""


class NotOurs:
    """The switch that we do not have: the server was given to us by an environment variable."""

    def start(self) -> None:
        self._refuse()

    def stop(self) -> None:
        self._refuse()

    def crash(self) -> None:
        self._refuse()

    def pause(self) -> None:
        self._refuse()

    def resume(self) -> None:
        self._refuse()

    def ensure_up(self) -> None:
        """Trust its owner."""

    def close(self) -> None:
        """Leave it as it is."""

    def _refuse(self) -> NoReturn:
        msg = "this server was given by DATABASE_URL or AMQP_URL; a test may only stop one that it started"
        raise RuntimeError(msg)


class Server:
    """A server with its switch."""

    def __init__(self, power: Power) -> None:
        self.power = power
        self.is_ours = not isinstance(power, NotOurs)
        self.start = power.start
        self.stop = power.stop
        self.crash = power.crash
        self.pause = power.pause
        self.resume = power.resume
        self.ensure_up = power.ensure_up
        self.close = power.close

    def restart(self) -> None:
        self.stop()
        self.start()


def free_port() -> int:
    """Find a TCP port that nobody uses.

    Below the range that the system deals out to outgoing connections: while a server is down, a client that tries again
    and again would otherwise be dealt the server's own port, connect to itself, and keep the server from coming back.
    """
    for _ in range(200):
        port = random.randint(20_000, 32_000)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    msg = "no free TCP port between 20000 and 32000"
    raise NoServerError(msg)
