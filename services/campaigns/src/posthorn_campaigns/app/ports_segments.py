"""What the use cases of segments need from outside."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Protocol
from uuid import UUID

from posthorn_campaigns.domain.segments import Segment


class Segments(Protocol):
    """Stored segments. An organisation sees only its own."""

    async def lock(self, organisation_id: UUID) -> None:
        """Let nobody else change the organisation's segments until the transaction ends."""
        ...

    async def add(self, segment: Segment) -> None: ...
    async def get(self, organisation_id: UUID, segment_id: UUID) -> Segment:
        """Raises SegmentNotFound."""
        ...

    async def page(self, organisation_id: UUID, after: UUID | None, limit: int) -> list[Segment]:
        """Return segments by id."""
        ...

    async def save(self, segment: Segment) -> None: ...
    async def delete(self, organisation_id: UUID, segment_id: UUID) -> None:
        """Raises SegmentNotFound."""
        ...

    async def rules(self, organisation_id: UUID, segment_ids: Collection[UUID]) -> Mapping[UUID, dict[str, Any]]:
        """Return the rules of those of the segments that exist, and of all that these use, and so on."""
        ...

    async def missing(self, organisation_id: UUID, segment_ids: Sequence[UUID]) -> list[UUID]:
        """Return which of the segments do not exist; the others cannot be deleted until the transaction ends."""
        ...

    async def is_in_use(self, organisation_id: UUID, segment_id: UUID) -> bool:
        """Whether a campaign that is not over, or another segment, uses the segment."""
        ...

    async def use_attribute(self, organisation_id: UUID, key: str) -> bool:
        """Whether any segment asks for the attribute."""
        ...
