"""Who calls, for counting: the peer's address, or the one that a proxy of ours names."""

from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any

from litestar.connection import ASGIConnection

from shared.settings import Gateway

Network = IPv4Network | IPv6Network
Address = IPv4Address | IPv6Address

V6_PREFIX = 64
"""Bits of an IPv6 address that one subscriber has; the rest is theirs to change at will."""


def networks(named: Iterable[str]) -> tuple[Network, ...]:
    """Read addresses and networks. Raises ValueError."""
    return tuple(ip_network(name) for name in named)


class Clients:
    """Whom requests come from, by the settings of this gateway."""

    def __init__(self, settings: Gateway) -> None:
        self._trusted = networks(settings.proxies)
        self._proxies = settings.trusted_proxy_hops

    def of(self, request: ASGIConnection[Any, Any, Any, Any]) -> str:
        """Return the address, or the IPv6 network, that a request counts for."""
        peer = request.client.host if request.client else ""
        return client_of(peer, request.headers.getall("X-Forwarded-For", []), self._trusted, self._proxies)


def client_of(peer: str, forwarded_for: Sequence[str], trusted: Sequence[Network], proxies: int = 1) -> str:
    """Return the client: the last hop that is no proxy of ours, since everything before it is that client's own word.

    `forwarded_for` holds the values of X-Forwarded-For as they came. An IPv6 client is its network. A client inside a
    trusted network looks like one more proxy, so no more hops are believed than there are `proxies` on the way.
    """
    hops = [hop.strip() for value in forwarded_for for hop in value.split(",")][-proxies:]
    client = _address(peer)
    while client is not None and hops and any(client in network for network in trusted):
        named = _address(hops.pop())
        if named is None:
            break
        client = named
    if client is None:
        return peer
    return str(ip_network((client, V6_PREFIX), strict=False) if isinstance(client, IPv6Address) else client)


def _address(text: str) -> Address | None:
    try:
        address = ip_address(text)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address
