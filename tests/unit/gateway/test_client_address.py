"""Who a client is: the peer, or whom a proxy of ours names."""

import pytest

from services.gateway.http.client_address import client_of, networks

PROXIES = networks(["10.0.0.0/8", "2001:db8:1::/48"])


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        ("203.0.113.5", [], "203.0.113.5"),
        ("203.0.113.5", ["198.51.100.7"], "203.0.113.5"),
        ("10.0.0.1", [], "10.0.0.1"),
        ("10.0.0.1", ["198.51.100.7"], "198.51.100.7"),
        ("10.0.0.1", ["6.6.6.6, 198.51.100.7"], "198.51.100.7"),
        ("10.0.0.1", ["6.6.6.6", "198.51.100.7"], "198.51.100.7"),
        ("10.0.0.1", ["6.6.6.6, rubbish"], "10.0.0.1"),
        ("10.0.0.1", [""], "10.0.0.1"),
        ("10.0.0.1", ["198.51.100.7:4711"], "10.0.0.1"),
        ("::ffff:10.0.0.1", ["198.51.100.7"], "198.51.100.7"),
        ("2001:db8:1::1", ["2001:db8:aaaa:bbbb:cccc::1"], "2001:db8:aaaa:bbbb::/64"),
        ("2001:db8:aaaa:bbbb:1:2:3:4", [], "2001:db8:aaaa:bbbb::/64"),
        ("", ["198.51.100.7"], ""),
    ],
)
def test_the_client_is_the_last_hop_that_is_no_proxy_of_ours(peer, forwarded, client):
    assert client_of(peer, forwarded, PROXIES) == client


@pytest.mark.parametrize(
    ("proxies", "peer", "forwarded", "client"),
    [
        (1, "10.0.0.1", ["6.6.6.6, 10.2.3.4"], "10.2.3.4"),
        (1, "10.0.0.1", ["6.6.6.6", "10.2.3.4"], "10.2.3.4"),
        (2, "10.0.0.1", ["198.51.100.7, 10.2.3.4"], "198.51.100.7"),
        (2, "10.0.0.1", ["6.6.6.6, 198.51.100.7, 10.2.3.4"], "198.51.100.7"),
        (2, "10.0.0.1", ["6.6.6.6, 10.9.9.9, 10.2.3.4"], "10.9.9.9"),
        (3, "10.0.0.1", ["198.51.100.7"], "198.51.100.7"),
    ],
)
def test_no_more_hops_are_believed_than_there_are_proxies(proxies, peer, forwarded, client):
    assert client_of(peer, forwarded, PROXIES, proxies) == client


@pytest.mark.parametrize(
    ("peer", "forwarded"),
    [
        ("2001:db8:aaaa:bbbb::1", []),
        ("2001:db8:aaaa:bbbb:ffff:ffff:ffff:ffff", []),
        ("2001:db8:aaaa:bbbb::1%eth0", []),
        ("10.0.0.1", ["2001:db8:aaaa:bbbb::7"]),
        ("10.0.0.1", ["2001:0DB8:AAAA:BBBB:0::8"]),
        ("10.0.0.1", ["2001:db8:aaaa:bbbb::9%1"]),
    ],
)
def test_every_address_of_an_ipv6_network_is_one_client(peer, forwarded):
    assert client_of(peer, forwarded, PROXIES) == "2001:db8:aaaa:bbbb::/64"


def test_without_trusted_proxies_nobody_is_believed():
    assert client_of("10.0.0.1", ["198.51.100.7"], ()) == "10.0.0.1"
