"""What analytics asks the campaigns service."""

from __future__ import annotations

from typing import TypeVar
from uuid import UUID

import structlog
from pydantic import BaseModel

from posthorn_analytics.app.ports import Fact, LinkTable
from posthorn_common.errors import TransientError
from posthorn_common.http.client import InternalCallFailed, InternalClient
from posthorn_contracts.campaigns.internal_v1 import CampaignLinks, CampaignSummary

log = structlog.get_logger(__name__)

_NOT_FOUND = 404
Answer = TypeVar("Answer", bound=BaseModel)


class CampaignsClient:
    """See the ports LinkSource and CampaignDirectory."""

    def __init__(self, client: InternalClient) -> None:
        self._client = client

    async def fetch(self, campaign_id: UUID) -> LinkTable | None:
        """Return the campaign's link table, None if there is no such campaign. Raises TransientError."""
        answer = await self._get(f"/internal/campaigns/{campaign_id}/links", CampaignLinks)
        if answer is None:
            return None
        return LinkTable(answer.organisation_id, {link.number: link.url for link in answer.links})

    async def look_up(self, campaign_id: UUID) -> tuple[Fact, str] | None:
        """Return whose campaign it is, since when, and its name; None if there is none. Raises TransientError."""
        answer = await self._get(f"/internal/campaigns/{campaign_id}", CampaignSummary)
        if answer is None:
            return None
        fact = Fact(organisation_id=answer.organisation_id, campaign_id=answer.campaign_id, at=answer.created_at)
        return fact, answer.name

    async def _get(self, path: str, kind: type[Answer]) -> Answer | None:
        try:
            return await self._client.get(path, kind)
        except InternalCallFailed as error:
            if error.status == _NOT_FOUND:
                return None
            # Readers can do nothing about it but try again; operators have to hear of it.
            log.error("campaigns_refused", answer=kind.__name__, status=error.status, code=error.code)  # noqa: TRY400
            raise TransientError("campaigns refuses to answer") from error
