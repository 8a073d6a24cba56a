"""What planning needs of the campaigns service."""

from __future__ import annotations

from typing import Protocol
from uuid import UUID

from posthorn_contracts.campaigns.internal_v1 import AudiencePage, CampaignContent


class CampaignsClient(Protocol):
    """The campaigns service's internal routes."""

    async def content(self, campaign_id: UUID) -> CampaignContent:
        """Raises ContentRefused when there is none, TransientError when campaigns is away."""
        ...

    async def audience(self, campaign_id: UUID, cursor: str | None, limit: int) -> AudiencePage:
        """Raises as `content` does."""
        ...


class ContentRefused(Exception):
    """The campaigns service will not give what is needed; the message says why, for people."""
