"""What the use cases of exports need from outside."""

from __future__ import annotations

from typing import Protocol
from uuid import UUID

from posthorn_campaigns.domain.exports import Export


class Exports(Protocol):
    """Stored exports and their files."""

    async def add(self, export: Export) -> None: ...
    async def get(self, organisation_id: UUID, export_id: UUID) -> Export:
        """Raises ExportNotFound, also for one that has expired."""
        ...

    async def file(self, export_id: UUID) -> Export:
        """Return a completed export, for a signed link. Raises ExportNotFound."""
        ...

    async def page(self, organisation_id: UUID, after: UUID | None, limit: int) -> list[Export]:
        """Return exports that have not expired, newest first, before `after`."""
        ...

    async def lease(self, export_id: UUID, seconds: int) -> Export | None:
        """Take an export that is not finished and that nobody works on."""
        ...

    async def hold(self, export: Export, seconds: int) -> bool:
        """Lock the export for this transaction and prolong the lease; False if it is lost."""
        ...

    async def add_pieces(self, export: Export, data: bytes) -> int:
        """Store bytes behind those that are stored, in pieces; return how many pieces there are then."""
        ...

    async def save(self, export: Export) -> None:
        """Store position, counts, status and failure. The lease ends with the export."""
        ...

    async def release(self, export: Export) -> None:
        """Give an export back before its lease ends."""
        ...

    async def piece(self, export_id: UUID, number: int) -> bytes:
        """Return a piece of the file; empty if it is gone."""
        ...

    async def delete(self, organisation_id: UUID, export_id: UUID) -> None:
        """Raises ExportNotFound."""
        ...

    async def due(self) -> list[tuple[UUID, int]]:
        """Return exports that are not finished and that nobody works on, with their last fencing numbers."""
        ...

    async def purge(self, limit: int) -> int:
        """Drop expired exports, at most `limit`; return how many."""
        ...


class ExportBell(Protocol):
    """Wakes a worker for an export."""

    async def ring(self, export_id: UUID, lease_epoch: int) -> None:
        """Raises TransientError when Redis is away: log it, the reconciler rings again."""
        ...
