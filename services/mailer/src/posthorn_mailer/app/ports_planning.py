"""What planning needs of the campaigns service."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Protocol
from uuid import UUID

from posthorn_contracts.campaigns.internal_v1 import CampaignContent


@dataclass(frozen=True, slots=True)
class RecipientPage:
    """One page of the audience, as columns: of millions, nothing is made that storing them does not need."""

    contact_ids: Sequence[str]
    """UUIDs as text; the database refuses what is none."""
    emails: Sequence[str]
    fields: Sequence[str]
    """Each recipient's merge fields, as JSON."""
    next_cursor: str | None
    """None on the last page."""

    @property
    def size(self) -> int:
        """How many recipients it has."""
        return len(self.contact_ids)

    def without(self, erased: Collection[UUID]) -> RecipientPage:
        """Return the page with nothing of these contacts but their ids."""
        if not erased:
            return self
        kept = [UUID(contact_id) not in erased for contact_id in self.contact_ids]
        return replace(
            self,
            emails=[email if is_kept else "" for email, is_kept in zip(self.emails, kept, strict=True)],
            fields=[fields if is_kept else "{}" for fields, is_kept in zip(self.fields, kept, strict=True)],
        )


class PinnedContent(CampaignContent):
    """What a campaign sends, with what the mailer adds when it takes the campaign on."""

    unsubscribe_email: str | None = None
    """Where its recipients may unsubscribe by mail, in ASCII."""


class CampaignsClient(Protocol):
    """The campaigns service's internal routes."""

    async def content(self, campaign_id: UUID) -> CampaignContent:
        """Raises ContentRefused when there is none, TransientError when campaigns is away."""
        ...

    async def audience(self, campaign_id: UUID, cursor: str | None, limit: int) -> RecipientPage:
        """Raises as `content` does."""
        ...


class ContentRefused(Exception):
    """The campaigns service will not give what is needed; the message says why, for people."""
