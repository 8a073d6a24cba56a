"""What the use cases of access requests need from outside."""

from __future__ import annotations

from datetime import timedelta
from typing import Protocol
from uuid import UUID

from posthorn_campaigns.domain.access_requests import AccessRequest, Records
from posthorn_campaigns.domain.erasures import HoldingService


class AccessRequests(Protocol):
    """Stored requests for access, and their archives. They go with their contact. Times are the database's."""

    async def add(self, request: AccessRequest, retention: timedelta) -> AccessRequest:
        """Store a request that expires after `retention`; return it. Raises ContactNotFound."""
        ...

    async def get(self, organisation_id: UUID, request_id: UUID) -> AccessRequest:
        """Raises AccessRequestNotFound, also for one that has expired."""
        ...

    async def page(self, organisation_id: UUID, after: UUID | None, limit: int) -> list[AccessRequest]:
        """Return requests that have not expired, newest first, before `after`."""
        ...

    async def archive(self, request_id: UUID) -> tuple[AccessRequest, bytes]:
        """Return a completed request and its archive, for a signed link. Raises AccessRequestNotFound."""
        ...

    async def delete(self, organisation_id: UUID, request_id: UUID) -> None:
        """Raises AccessRequestNotFound."""
        ...

    async def claim(self, lease: timedelta) -> AccessRequest | None:
        """Take a request that is due; others may have it when the lease is over."""
        ...

    async def records(self, organisation_id: UUID, contact_id: UUID) -> tuple[str, Records]:
        """Return a contact's address and all that campaigns knows of it. Raises ContactNotFound."""
        ...

    async def complete(self, request: AccessRequest, archive: bytes, retention: timedelta) -> bool:
        """Store the archive, which expires after `retention`; False if the request is another's by now, or gone."""
        ...

    async def postpone(self, request: AccessRequest, waits_for: HoldingService, pause: timedelta) -> None:
        """Let a request that is still ours wait, and say for whom."""
        ...

    async def purge(self) -> int:
        """Drop what has expired; return how many."""
        ...


class RecordHolder(Protocol):
    """Another service that knows contacts."""

    @property
    def service(self) -> HoldingService: ...
    async def disclose(self, organisation_id: UUID, contact_id: UUID, email: str) -> Records:
        """Return all that it knows of a contact. Raises TransientError when it is away."""
        ...
