"""Link tables from the campaigns service."""

from __future__ import annotations

from uuid import UUID

from posthorn_analytics.app.ports import LinkTable
from posthorn_common.http.client import InternalCallFailed, InternalClient
from posthorn_contracts.campaigns.internal_v1 import CampaignLinks


class CampaignsLinkSource:
    """See the port LinkSource."""

    def __init__(self, client: InternalClient) -> None:
        self._client = client

    async def fetch(self, campaign_id: UUID) -> LinkTable | None:
        """Return the campaign's link table, None if there is no such campaign. Raises TransientError."""
        try:
            answer = await self._client.get(f"/internal/campaigns/{campaign_id}/links", CampaignLinks)
        except InternalCallFailed as error:
            if error.status != 404:
                raise
            return None
        return LinkTable(answer.organisation_id, {link.number: link.url for link in answer.links})
