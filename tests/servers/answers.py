"""Whether a server answers, asked in its own language: an open port says nothing, least of all a container's."""

import socket
from contextlib import suppress

import psycopg


def speaks_postgres(url: str) -> bool:
    """Return whether a database takes connections."""
    try:
        psycopg.connect(url, connect_timeout=2).close()
    except psycopg.OperationalError:
        return False
    return True


def speaks_amqp(host: str, port: int) -> bool:
    """Return whether a broker answers a greeting in AMQP 0-9-1 with the first frame of the protocol."""
    with suppress(OSError), socket.create_connection((host, port), timeout=2) as connection:
        connection.sendall(b"AMQP\x00\x00\x09\x01")
        return connection.recv(1) == b"\x01"
    return False
