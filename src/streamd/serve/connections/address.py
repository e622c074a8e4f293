"""What counts as one client address. For IPv6 this is the /64 network that a provider assigns to one customer."""

from __future__ import annotations

import ipaddress


def client_network(text: str) -> str:
    """The address, or its /64 network for IPv6. Returns `text` unchanged if it is not an IP address."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return text
    if isinstance(address, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((int(address) >> 64 << 64, 64)))
    return text
