"""Events to stored events and back, with the contract's own JSON and stable type names (never import paths)."""

from uuid import UUID

from eventsourcing.domain import DomainEventProtocol
from eventsourcing.persistence import JSONTranscoder, Mapper, StoredEvent

from contracts.events import Event, decode, encode


class EventMapper(Mapper[UUID]):
    """The library's mapper over msgspec Structs; its transcoder, cipher and compressor are not used."""

    def __init__(self) -> None:
        super().__init__(transcoder=JSONTranscoder())

    def to_stored_event(self, domain_event: DomainEventProtocol[UUID]) -> StoredEvent:
        """Encode one of the contract's events."""
        event: Event = domain_event  # type: ignore[assignment]  # the protocol is structural; only our events come here
        return StoredEvent(
            originator_id=event.upload_id,
            originator_version=event.version,
            topic=type(event).__name__,
            state=encode(event),
        )

    def to_domain_event(self, stored_event: StoredEvent) -> DomainEventProtocol[UUID]:
        """Decode what was stored. Raises msgspec.DecodeError where it is not an event of the contract."""
        return decode(stored_event.state)
