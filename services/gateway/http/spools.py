"""What uploads hold of this process's disk while they come in: bounded, for each client and in all.

A client that holds its upload open keeps what it sent so far in a temporary file. Without a bound a few of them fill
the disk, for everybody.
"""

import contextlib
from collections import Counter
from collections.abc import Iterator

import structlog

from contracts.http import MAX_IMAGE_BYTES
from services.gateway.http.checks import AnyRequest
from services.gateway.http.client_address import Clients
from services.gateway.http.problems import RateLimitedError, SpoolFullError
from shared.settings import Gateway

log = structlog.get_logger(__name__)

FORM_BYTES = 64 * 1024
"""What a form has around its file, at most."""
AGAIN = 5.0
"""Seconds after which a client may ask again whose other uploads still come in."""


class Spools:
    """One process's budget. What has arrived counts, not what was announced: to announce costs a client nothing."""

    def __init__(self, clients: Clients, settings: Gateway) -> None:
        self._clients = clients
        self._in_all = settings.upload_spool_bytes
        self._per_client = settings.upload_spool_bytes_per_client
        self._held = 0
        self._held_by: Counter[str] = Counter()

    @contextlib.contextmanager
    def open(self, request: AnyRequest) -> Iterator["Spool"]:
        """Open an account for a request's body, which ends with the context: remove the bytes before.

        Raise RateLimitedError or SpoolFullError where the announced length does not fit now.
        """
        client = self._clients.of(request)
        self._check(client, min(request.content_length or 0, MAX_IMAGE_BYTES + FORM_BYTES))
        spool = Spool(self, client)
        try:
            yield spool
        finally:
            self._add(client, -spool.held)

    def take(self, client: str, size: int) -> None:
        """Count bytes that have arrived. Raise RateLimitedError or SpoolFullError where they do not fit."""
        self._check(client, size)
        self._add(client, size)

    def _check(self, client: str, size: int) -> None:
        if self._held_by[client] + size > self._per_client:
            log.info("rate_limited", what="spool")
            raise RateLimitedError(AGAIN)
        if self._held + size > self._in_all:
            log.warning("spool_full", held=self._held)
            raise SpoolFullError

    def _add(self, client: str, size: int) -> None:
        self._held += size
        self._held_by[client] += size
        if not self._held_by[client]:
            del self._held_by[client]


class Spool:
    """One body's account."""

    def __init__(self, spools: Spools, client: str) -> None:
        self.held = 0
        self._spools = spools
        self._client = client

    def take(self, size: int) -> None:
        """Count bytes before they are kept. Raise RateLimitedError or SpoolFullError."""
        self._spools.take(self._client, size)
        self.held += size
