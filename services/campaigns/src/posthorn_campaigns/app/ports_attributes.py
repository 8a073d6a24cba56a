"""What the use cases of declared attributes need from outside."""

from __future__ import annotations

from typing import Protocol
from uuid import UUID

from posthorn_campaigns.domain.attributes import AttributeDeclaration, Declarations


class Attributes(Protocol):
    """Stored declarations of attributes. An organisation sees only its own."""

    async def declared(self, organisation_id: UUID) -> Declarations:
        """Return all of the organisation's declarations, by key."""
        ...

    async def add(self, declaration: AttributeDeclaration) -> None:
        """Raises AttributeExists."""
        ...

    async def get(self, organisation_id: UUID, attribute_id: UUID, *, lock: bool = False) -> AttributeDeclaration:
        """Raises AttributeNotFound."""
        ...

    async def save(self, declaration: AttributeDeclaration) -> None:
        """Store whether it is required, and its description."""
        ...

    async def delete(self, organisation_id: UUID, attribute_id: UUID) -> None:
        """Raises AttributeNotFound."""
        ...
