"""What the use cases of erasures need from outside."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Protocol
from uuid import UUID

from posthorn_campaigns.domain.erasures import Erasure, HoldingService


class Erasures(Protocol):
    """Stored erasures. Their times are the database's."""

    async def share(self, organisation_id: UUID) -> None:
        """Let nobody be erased until the transaction ends. For those who copy contacts elsewhere; call it first."""
        ...

    async def erase(self, organisation_id: UUID, contact_id: UUID) -> tuple[str, dict[str, int]]:
        """Delete a contact with all that is about it, also exports that hold it, once nobody shares any more.

        Return the address and how many rows of each kind are gone. Raises ContactNotFound.
        """
        ...

    async def add(self, erasure: Erasure, email_hash: bytes) -> None: ...
    async def get(self, organisation_id: UUID, erasure_id: UUID) -> Erasure:
        """Raises ErasureNotFound."""
        ...

    async def subject(self, erasure_id: UUID) -> Erasure:
        """Return an erasure of whatever organisation, for other services. Raises ErasureNotFound."""
        ...

    async def page(
        self, organisation_id: UUID, *, email_hash: bytes | None, after: UUID | None, limit: int
    ) -> list[Erasure]:
        """Return erasures, newest first, before `after`."""
        ...

    async def confirm(
        self, organisation_id: UUID, erasure_id: UUID, service: HoldingService, counts: Mapping[str, int]
    ) -> bool:
        """Note a service's confirmation, the first one for good; the last one completes the erasure.

        Return whether this completed it. One that is not known is nobody's business.
        """
        ...

    async def take_overdue(self, unanswered: timedelta, limit: int) -> list[Erasure]:
        """Return erasures whose request was published so long ago and is not confirmed by all; it counts anew."""
        ...
