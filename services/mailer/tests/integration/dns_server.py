"""A DNS server for tests: answers TXT and MX over UDP, as it is told."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from typing import Any

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset


class DnsServer(asyncio.DatagramProtocol):
    """`zone` holds TXT records by name, each a list of strings, and `mail_hosts` MX records.

    `silent` names get no answer, `broken` SERVFAIL.
    """

    def __init__(self) -> None:
        self.zone: dict[str, list[list[str]]] = {}
        self.mail_hosts: dict[str, list[str]] = {}
        self.silent: set[str] = set()
        self.broken: set[str] = set()
        self.asked: list[str] = []
        self.port = 0

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self.port = transport.get_extra_info("sockname")[1]

    def datagram_received(self, data: bytes, addr: Any) -> None:
        query = dns.message.from_wire(data)
        name = query.question[0].name.to_text(omit_final_dot=True)
        self.asked.append(name)
        if name in self.silent:
            return
        answer = dns.message.make_response(query, recursion_available=True)
        if name in self.broken:
            answer.set_rcode(dns.rcode.SERVFAIL)
        elif query.question[0].rdtype == dns.rdatatype.MX and name in self.mail_hosts:
            answer.answer.append(dns.rrset.from_text(query.question[0].name, 60, "IN", "MX", *self.mail_hosts[name]))
        elif name in self.zone:
            texts = [" ".join('"' + part.replace('"', '\\"') + '"' for part in parts) for parts in self.zone[name]]
            answer.answer.append(dns.rrset.from_text(query.question[0].name, 60, "IN", "TXT", *texts))
        else:
            answer.set_rcode(dns.rcode.NXDOMAIN)
        self._transport.sendto(answer.to_wire(), addr)


@contextlib.asynccontextmanager
async def dns_server() -> AsyncGenerator[DnsServer]:
    """Listen on a free port of loopback."""
    transport, server = await asyncio.get_running_loop().create_datagram_endpoint(
        DnsServer, local_addr=("127.0.0.1", 0)
    )
    try:
        yield server
    finally:
        transport.close()
