"""What the use cases of declared attributes need from outside."""

from __future__ import annotations

from typing import Protocol
from uuid import UUID

from posthorn_campaigns.domain.attributes import AttributeDeclaration, Declarations


class Attributes(Protocol):
    """Stored declarations of attributes. An organisation sees only its own."""

    async def lock(self, organisation_id: UUID) -> None:
        """Let nobody else declare or index attributes of the organisation until the transaction ends."""
        ...

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
        """Store whether it is required, its description and its index, which is filled later if it is another one."""
        ...

    async def delete(self, organisation_id: UUID, attribute_id: UUID) -> None:
        """Raises AttributeNotFound."""
        ...

    async def drop_index(self, index_id: UUID) -> None:
        """Have the values of an index deleted later."""
        ...


class AttributeIndexes(Protocol):
    """The indexes of attributes, of all organisations. What is written to contacts is in them at once."""

    async def fill(self, limit: int) -> bool:
        """Take some of the contacts that there were before into an index that lacks them; False if no more can."""
        ...

    async def clear(self, limit: int) -> bool:
        """Delete some values of an index that was dropped; False if there are none."""
        ...
