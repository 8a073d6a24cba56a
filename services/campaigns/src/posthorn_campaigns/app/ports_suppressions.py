"""What the use cases need to know of the mailer's suppression list."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Protocol
from uuid import UUID

from posthorn_campaigns.domain.suppressions import Suppression
from posthorn_contracts.mailer.internal_v1 import SuppressionStates


class Suppressions(Protocol):
    """The mailer's suppression list, as it was told last."""

    async def take(self, organisation_id: UUID, told: SuppressionStates, now: datetime) -> None:
        """Store how addresses and domains are, unless something later was told of them, and what follows from it.

        The change stands in the timelines of contacts that have such an address. Contacts whose address does not bounce
        any more are active again. Addresses of contacts who are being erased are left out (see Erasures.share).
        """
        ...

    async def of(self, organisation_id: UUID, emails: Sequence[str]) -> Mapping[str, Suppression]:
        """Return those of the addresses that are suppressed at present."""
        ...

    async def purge(self, retention: timedelta) -> int:
        """Drop what is left of suppressions that were lifted longer ago; return how many."""
        ...


class SuppressionSource(Protocol):
    """Whom to ask."""

    async def changed_suppressions(self, change_id: UUID) -> SuppressionStates:
        """Return how the addresses of a change are by now. Raises TransientError when the mailer is away."""
        ...
