"""The audit log: who did what to which resource, from where, in all services."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol
from uuid import UUID

from posthorn_auth.app.account_actions import NOBODY
from posthorn_contracts.audit.v1 import ActionRecorded, ActorKind, AuditOutcome

_AT_A_TIME = 1000


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One action. `actor_name` is the name that the user or API key has today."""

    id: UUID
    at: datetime
    service: str
    action: str
    outcome: AuditOutcome
    actor_kind: ActorKind
    actor_id: UUID | None
    actor_name: str | None
    resource_kind: str | None
    resource_id: UUID | None
    address: str | None
    request_id: str | None


@dataclass(frozen=True, slots=True)
class AuditFilter:
    """Which entries are wanted; None: all. `since` is included, `until` is not."""

    actor_id: UUID | None = None
    action: str | None = None
    service: str | None = None
    resource_kind: str | None = None
    resource_id: UUID | None = None
    since: datetime | None = None
    until: datetime | None = None


Place = tuple[datetime, UUID]
"""Where a page ends: the time and id of its last entry."""


class AuditEntries(Protocol):
    """Stored entries. They are never changed or deleted."""

    async def add(self, told: ActionRecorded) -> None:
        """Store what was told; the same event twice is one entry."""
        ...

    async def page(
        self, organisation_id: UUID, wanted: AuditFilter, *, after: Place | None, limit: int
    ) -> list[AuditEntry]:
        """Return entries, newest first, from this place on."""
        ...


class AuditLog:
    """The use cases of the audit log."""

    def __init__(self, entries: AuditEntries) -> None:
        self._entries = entries

    async def on_action_recorded(self, event: ActionRecorded) -> None:
        """Keep what a service has told, unless it is about nobody."""
        if event.organisation_id != NOBODY:
            await self._entries.add(event)

    async def page(
        self, organisation_id: UUID, wanted: AuditFilter, after: Place | None, limit: int
    ) -> list[AuditEntry]:
        """Return entries, newest first."""
        return await self._entries.page(organisation_id, wanted, after=after, limit=limit)

    async def all(self, organisation_id: UUID, wanted: AuditFilter) -> AsyncIterator[list[AuditEntry]]:
        """Yield all entries in pages, newest first; the first page may be empty."""
        after: Place | None = None
        while True:
            found = await self.page(organisation_id, wanted, after, _AT_A_TIME)
            yield found
            if len(found) < _AT_A_TIME:
                return
            after = (found[-1].at, found[-1].id)
