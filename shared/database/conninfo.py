"""How a database that vanished is noticed: without these a connection to a machine that lost power waits for hours."""

from psycopg.conninfo import conninfo_to_dict, make_conninfo

_DEFAULTS = {
    "connect_timeout": 5,  # seconds
    "keepalives_idle": 20,  # seconds
    "keepalives_interval": 5,  # seconds
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,  # milliseconds that sent bytes may stay unacknowledged
}


def conninfo_with_timeouts(database_url: str) -> str:
    """Return the URL as a connection string with time-outs where it names none. Raises psycopg.ProgrammingError."""
    named = conninfo_to_dict(database_url)
    return make_conninfo(database_url, **{key: value for key, value in _DEFAULTS.items() if key not in named})
