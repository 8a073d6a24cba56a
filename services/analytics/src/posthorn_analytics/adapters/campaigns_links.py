"""Link tables from the campaigns service."""

from __future__ import annotations

from uuid import UUID

import structlog

from posthorn_analytics.app.ports import LinkTable
from posthorn_common.errors import TransientError
from posthorn_common.http.client import InternalCallFailed, InternalClient
from posthorn_contracts.campaigns.internal_v1 import CampaignLinks

log = structlog.get_logger(__name__)

_NOT_FOUND = 404


class CampaignsLinkSource:
    """See the port LinkSource."""

    def __init__(self, client: InternalClient) -> None:
        self._client = client

    async def fetch(self, campaign_id: UUID) -> LinkTable | None:
        """Return the campaign's link table, None if there is no such campaign. Raises TransientError."""
        try:
            answer = await self._client.get(f"/internal/campaigns/{campaign_id}/links", CampaignLinks)
        except InternalCallFailed as error:
            if error.status == _NOT_FOUND:
                return None
            # Readers can do nothing about it but try again; operators have to hear of it.
            log.error("link_table_refused", campaign_id=str(campaign_id), status=error.status, code=error.code)  # noqa: TRY400
            raise TransientError("campaigns refuses to give link tables") from error
        return LinkTable(answer.organisation_id, {link.number: link.url for link in answer.links})
