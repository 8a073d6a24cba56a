"""Limits of sending: look at them, and replace them."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from posthorn_mailer.app.ports_pace import StoredLimits
from posthorn_mailer.domain.errors import InvalidLimit
from posthorn_mailer.domain.limits import DomainLimit, SendingLimits, check_domain_limit


class ManagingLimits:
    """The use cases of an organisation's limits."""

    def __init__(self, stored: StoredLimits) -> None:
        self._stored = stored

    async def get(self, organisation_id: UUID) -> SendingLimits:
        """Return the limits."""
        return await self._stored.get(organisation_id)

    async def replace(
        self, organisation_id: UUID, *, messages_per_second: float | None, domains: Sequence[DomainLimit]
    ) -> SendingLimits:
        """Replace all limits. Raises InvalidLimit."""
        by_name: dict[str, DomainLimit] = {}
        for limit in domains:
            check_domain_limit(limit)
            if limit.name in by_name:
                raise InvalidLimit(limit.name, "is there twice")
            by_name[limit.name] = limit
        limits = SendingLimits(messages_per_second, by_name)
        await self._stored.put(organisation_id, limits)
        return limits
