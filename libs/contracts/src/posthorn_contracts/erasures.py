"""What services say when they have erased a contact."""

from __future__ import annotations

from uuid import UUID

from pydantic import Field

from posthorn_contracts.envelope import Payload


class ErasureConfirmedData(Payload):
    """A service has dropped what it knew of a contact."""

    erasure_id: UUID
    contact_id: UUID
    counts: dict[str, int] = Field(description="How many records of each kind were deleted or blanked this time.")
