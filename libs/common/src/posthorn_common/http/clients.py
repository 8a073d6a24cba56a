"""Where a request comes from, and whom its address stands for."""

from __future__ import annotations

import ipaddress

from starlette.requests import Request


def client_address(request: Request) -> str:
    """Return the address that a request comes from; the gateway says so in X-Forwarded-For, and nobody else can."""
    forwarded = request.headers.get("x-forwarded-for", "").split(",")[0].strip()
    return forwarded or (request.client.host if request.client else "")


def address_group(address: str) -> str:
    """Return whom an address stands for when requests are counted: an IPv6 customer has a whole /64."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped is not None:
            return str(parsed.ipv4_mapped)
        return str(ipaddress.ip_network((parsed, 64), strict=False))
    return str(parsed)
