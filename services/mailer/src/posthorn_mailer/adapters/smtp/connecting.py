"""From a relay's name to a socket, past addresses that must not be reached."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from pathlib import Path

from posthorn_common.internal_addresses import is_internal_address
from posthorn_mailer.domain.relays import Relay


class AddressNotAllowed(OSError):
    """The relay's name leads into the installation's own network."""


async def connect_socket(host: str, port: int, *, timeout_seconds: float, allow_internal: bool) -> socket.socket:
    """Return a connected socket. Raises OSError, of which TimeoutError and AddressNotAllowed are kinds.

    The addresses checked are the ones connected to: a name cannot change its meaning in between.
    """
    async with asyncio.timeout(timeout_seconds):
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        if not allow_internal and any(is_internal_address(str(address[0])) for *_, address in found):
            raise AddressNotAllowed
        failure: OSError = OSError("the name has no address")
        for family, kind, protocol, _name, address in found:
            try:
                return await _connect(family, kind, protocol, address)
            except OSError as error:
                failure = error
        raise failure


async def _connect(family: int, kind: int, protocol: int, address: tuple[object, ...]) -> socket.socket:
    connection = socket.socket(family, kind, protocol)
    with contextlib.ExitStack() as undo:
        undo.callback(connection.close)
        connection.setblocking(False)
        # A command waits for its reply: nothing is gained by letting the kernel wait for more to send.
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await asyncio.get_running_loop().sock_connect(connection, address)
        undo.pop_all()
    return connection


class TlsContexts:
    """The TLS settings for relays; each is made once, since reading the certificate authorities takes a while."""

    def __init__(self, ca_file: Path | None = None) -> None:
        self._ca_file = ca_file
        self._made: dict[bool, ssl.SSLContext] = {}

    async def context(self, relay: Relay) -> ssl.SSLContext:
        """Return the context for a relay."""
        if relay.verify_certificate not in self._made:
            self._made[relay.verify_certificate] = await asyncio.to_thread(self._make, verify=relay.verify_certificate)
        return self._made[relay.verify_certificate]

    def _make(self, *, verify: bool) -> ssl.SSLContext:
        context = ssl.create_default_context()
        if self._ca_file is not None:
            context.load_verify_locations(self._ca_file)
        if not verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return context
