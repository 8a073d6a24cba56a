"""Where relays may be."""

from __future__ import annotations

import asyncio
import socket

from posthorn_common.internal_addresses import is_internal_address
from posthorn_mailer.domain.errors import RelayHostNotAllowed

_SECONDS = 3.0


class ResolvingRelayHosts:
    """See the port RelayHosts."""

    def __init__(self, *, allow_internal: bool) -> None:
        self._allow_internal = allow_internal

    async def check(self, host: str) -> None:
        """Raise RelayHostNotAllowed if the name leads into the installation's own network."""
        if self._allow_internal:
            return
        try:
            async with asyncio.timeout(_SECONDS):
                found = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError):
            return
        if any(is_internal_address(str(address[0])) for *_, address in found):
            raise RelayHostNotAllowed
