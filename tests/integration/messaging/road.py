"""A transport that notes what it is given, and can be away."""

from shared.eventstore.outbox import OutboxRow


class Road:
    """Takes every row, unless `error` says otherwise."""

    def __init__(self, *, up: bool = True, error: Exception | None = None) -> None:
        self.up = up
        self.error = error
        self.sent: list[OutboxRow] = []

    async def send(self, row: OutboxRow) -> None:
        self.sent.append(row)
        if self.error:
            raise self.error
