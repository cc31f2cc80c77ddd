"""What a consumer gets, whichever way it came, and what a transport and a consumer promise."""

from typing import Protocol

import msgspec

from contracts.events import Event
from shared.eventstore.outbox import OutboxRow


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """A delivered event.

    `fresh` says that it comes straight from the commit that recorded it, so that the event is most likely still
    the aggregate's last. A redelivery, a retry, a replay or a wake-up is not, nor is a message that nobody proves to be
    ours; the stream has to be read first.
    """

    event: Event
    traceparent: str | None = None
    fresh: bool = False


class Consumer(Protocol):
    """One queue's reader."""

    async def handle(self, message: Message) -> None:
        """Do what the message asks. Returning acknowledges it; raising or being cancelled has it delivered again.

        Raises RefusedMessageError where no delivery would make it good.
        """
        ...


class RefusedMessageError(Exception):
    """A message that can be read and says what is not so. It becomes a dead letter, with this reason."""


class UnroutableError(Exception):
    """No queue took an event that the saga table says somebody wants: the topology is broken."""


class TopologyConflictError(Exception):
    """The broker has an exchange or a queue of the name with other arguments; a person has to move or delete it."""


class TransportDownError(Exception):
    """The broker cannot be reached, or did not confirm in time. The outbox keeps the row."""


class Transport(Protocol):
    """The road from the outbox to the consumers. `up` says whether the other side can be reached."""

    @property
    def up(self) -> bool:
        """Whether sending has a chance."""
        ...

    async def send(self, row: OutboxRow) -> None:
        """Publish one row; returning says that it is safe with the other side, and the row may go.

        Raises UnroutableError or TransportDownError.
        """
        ...
