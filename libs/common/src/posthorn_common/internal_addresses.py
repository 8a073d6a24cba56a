"""IP addresses inside of the installation: nobody reaches them by a name that they have given us."""

from __future__ import annotations

import ipaddress

# NAT64 (RFC 6052), SIIT (RFC 7915), and what once meant the same (RFC 4291 §2.5.5.1): the last 32 bits are IPv4.
_TRANSLATED = tuple(ipaddress.IPv6Network(prefix) for prefix in ("64:ff9b::/96", "::ffff:0:0:0/96", "::/96"))


def is_internal_address(address: str) -> bool:
    """Whether an IP address belongs to this machine, a private network or a cloud's metadata service.

    Text that is no IP address counts as internal: whoever asks has resolved the name before.
    """
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return True
    if isinstance(parsed, ipaddress.IPv6Address):
        embedded = parsed.ipv4_mapped or parsed.sixtofour or _translated(parsed)
        if embedded is not None:
            return is_internal_address(str(embedded))
        if parsed.is_site_local:
            return True
    return not parsed.is_global or parsed.is_multicast


def _translated(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    if any(address in network for network in _TRANSLATED):
        return ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)
    return None
