"""TXT and MX records from the DNS."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

import dns.asyncresolver
import dns.exception
import dns.name
import dns.nameserver
import dns.resolver

from posthorn_mailer.app.ports_domains import DnsLookupFailed

_SECONDS = 5.0
_PORT = 53


class ResolverDns:
    """See the ports DnsTexts and MailHosts."""

    def __init__(self, server: str | None) -> None:
        """`server` is an IP address, IPv6 in brackets, with or without a port; None: the servers of the system.

        Raises ValueError if it is not.
        """
        self._server: dns.nameserver.Nameserver | None = None
        if server is not None:
            parts = urlsplit(f"//{server}")
            address = ipaddress.ip_address(parts.hostname or "")
            self._server = dns.nameserver.Do53Nameserver(str(address), parts.port or _PORT)

    async def texts(self, name: str) -> list[str]:
        """Return the TXT records of a name. Raises DnsLookupFailed."""
        try:
            # Made anew, so that a changed resolv.conf is noticed; there is no cache that would be lost.
            answer = await self._resolver().resolve(dns.name.from_text(name), "TXT", search=False)
        except (dns.resolver.NXDOMAIN, dns.resolver.NoAnswer):
            return []
        except (dns.exception.DNSException, OSError) as error:
            raise DnsLookupFailed from error
        return [b"".join(record.strings).decode("utf-8", "replace") for record in answer]

    async def mail_hosts(self, domain: str) -> list[str]:
        """Return the hosts of a domain's MX records, the preferred first. Raises DnsLookupFailed."""
        try:
            answer = await self._resolver().resolve(dns.name.from_text(domain), "MX", search=False)
        except (dns.resolver.NXDOMAIN, dns.resolver.NoAnswer):
            return []
        except (dns.exception.DNSException, OSError) as error:
            raise DnsLookupFailed from error
        return [str(record.exchange) for record in sorted(answer, key=lambda record: record.preference)]

    def _resolver(self) -> dns.asyncresolver.Resolver:
        resolver = dns.asyncresolver.Resolver(configure=self._server is None)
        resolver.lifetime = _SECONDS
        if self._server is not None:
            resolver.nameservers = [self._server]
        return resolver
