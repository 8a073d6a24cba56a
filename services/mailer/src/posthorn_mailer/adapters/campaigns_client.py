"""See the port CampaignsClient."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from posthorn_common.http.client import InternalCallFailed, InternalClient
from posthorn_contracts.campaigns.internal_v1 import AudiencePage, CampaignContent
from posthorn_mailer.app.ports_planning import ContentRefused


class HttpCampaignsClient:
    """Asks the campaigns service."""

    def __init__(self, client: InternalClient) -> None:
        self._client = client

    async def content(self, campaign_id: UUID) -> CampaignContent:
        """Return the pinned content of a started campaign."""
        try:
            return await self._client.get(f"/internal/campaigns/{campaign_id}/content", CampaignContent)
        except InternalCallFailed as error:
            raise ContentRefused(f"The campaign's content cannot be had: {error}.") from error

    async def audience(self, campaign_id: UUID, cursor: str | None, limit: int) -> AudiencePage:
        """Return a page of recipients."""
        query: dict[str, Any] = {"limit": limit}
        if cursor is not None:
            query["cursor"] = cursor
        try:
            return await self._client.get(f"/internal/campaigns/{campaign_id}/audience", AudiencePage, params=query)
        except InternalCallFailed as error:
            raise ContentRefused(f"The campaign's audience cannot be had: {error}.") from error
