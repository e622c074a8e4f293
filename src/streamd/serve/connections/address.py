"""What counts as one address: of IPv6 the network that one subscriber gets (/64)."""

from __future__ import annotations

import ipaddress


def network_of(text: str) -> str:
    """The address by which its sender is known; the text itself where it is none."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return text
    if isinstance(address, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((int(address) >> 64 << 64, 64)))
    return text
