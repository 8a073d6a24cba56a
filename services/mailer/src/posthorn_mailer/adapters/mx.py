"""Operators of recipients' domains, as their MX records tell."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from typing import NamedTuple

import structlog

from posthorn_mailer.app.ports_domains import DnsLookupFailed, MailHosts
from posthorn_mailer.domain.operators import operator_of_domain, operator_of_host

log = structlog.get_logger(__name__)

_KEPT = 20_000
_AT_A_TIME = 20
_FOUND_SECONDS = 6 * 3600.0
_NOT_ANSWERED_SECONDS = 300.0


class _Known(NamedTuple):
    group: str
    until: float


class MxOperators:
    """See the port Operators. Lookups run beside, a few at a time; what they find is kept for hours."""

    def __init__(self, dns: MailHosts) -> None:
        self._dns = dns
        self._known: OrderedDict[str, _Known] = OrderedDict()
        self._asking: dict[str, asyncio.Task[None]] = {}

    def group(self, domain: str) -> str:
        """Return the operator, or the domain itself where none is known yet."""
        operator = operator_of_domain(domain)
        if operator is not None:
            return operator
        known = self._known.get(domain)
        # Not asked again for every recipient: neither while a lookup is under way nor where the DNS does not answer.
        is_due = known is None or time.monotonic() >= known.until
        if is_due and domain not in self._asking and len(self._asking) < _AT_A_TIME:
            self._asking[domain] = asyncio.create_task(self._ask(domain), name="mx-lookup")
        return domain if known is None else known.group

    async def close(self) -> None:
        """End lookups that are under way."""
        tasks = list(self._asking.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._asking.clear()

    async def _ask(self, domain: str) -> None:
        try:
            hosts = await self._dns.mail_hosts(domain)
            group = next((operator for host in hosts if (operator := operator_of_host(host))), domain)
            seconds = _FOUND_SECONDS
        except DnsLookupFailed:
            log.info("mx_not_found", domain=domain)
            before = self._known.get(domain)
            group = domain if before is None else before.group
            seconds = _NOT_ANSWERED_SECONDS
        finally:
            self._asking.pop(domain, None)
        self._known[domain] = _Known(group, time.monotonic() + seconds)
        while len(self._known) > _KEPT:
            self._known.popitem(last=False)
