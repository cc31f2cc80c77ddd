"""Three words for tests of the aggregate: given(events).when(command, …).then(…) or .then_refused(error)."""

from collections.abc import Callable

from contracts.events import Event
from shared.upload.errors import DomainError, StageFailure
from tests.builders import an_upload


class Outcome:
    """What a command gave, or why it was refused."""

    def __init__(self, given: object, refused: Exception | None) -> None:
        self.given = given
        self.refused = refused

    def then(self, *events: Event) -> None:
        assert self.refused is None, f"refused: {self.refused}"
        assert (self.given if isinstance(self.given, tuple) else (self.given,)) == events

    def then_nothing(self) -> None:
        assert self.refused is None
        assert self.given is None

    def then_refused(self, error: type[Exception], match: str = "") -> None:
        assert type(self.refused) is error, f"gave {self.given!r}, refused with {self.refused!r}"
        assert match in str(self.refused)


class Given:
    """A stream, and the command to try on what it folds into."""

    def __init__(self, *events: Event | type[Event]) -> None:
        self.upload = an_upload(*events)

    def when(self, command: Callable[..., object], *args: object, **kwargs: object) -> Outcome:
        try:
            return Outcome(command(self.upload, *args, **kwargs), None)
        except (DomainError, StageFailure) as refused:
            return Outcome(None, refused)


def given(*events: Event | type[Event]) -> Given:
    return Given(*events)
