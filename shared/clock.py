"""The time, as this process has it."""

import datetime as dt


def utc_now() -> dt.datetime:
    """Return this instant, in UTC."""
    return dt.datetime.now(dt.UTC)
