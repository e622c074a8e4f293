"""Addresses of peers and clients."""

from __future__ import annotations

from ipaddress import IPv6Address, ip_address, ip_network


def is_loopback(host: str) -> bool:
    """Whether a host is this machine itself, so that traffic to it crosses no network."""
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def client_network(text: str) -> str:
    """What counts as one client: an IPv4 address, or the /64 network that a provider assigns to one IPv6 customer.

    Returns `text` unchanged if it is not an IP address.
    """
    try:
        address = ip_address(text)
    except ValueError:
        return text
    if isinstance(address, IPv6Address):
        return str(ip_network((int(address) >> 64 << 64, 64)))
    return text
