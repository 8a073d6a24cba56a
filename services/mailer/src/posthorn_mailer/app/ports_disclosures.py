"""What disclosing contacts needs from outside."""

from __future__ import annotations

from typing import Any, Protocol
from uuid import UUID


class Disclosures(Protocol):
    """All that is stored about contacts."""

    async def records(self, organisation_id: UUID, contact_id: UUID, email: str) -> dict[str, list[dict[str, Any]]]:
        """Return all records about a contact, by kind."""
        ...
