"""How far a campaign's send is."""

from __future__ import annotations

from uuid import UUID

from fastapi import APIRouter

from posthorn_common.http.problems import responses
from posthorn_mailer.entrypoints.http.deps import DeliveryReader, Services
from posthorn_mailer.entrypoints.http.schemas import SendAnswer

router = APIRouter(tags=["deliveries"])


@router.get(
    "/v1/campaigns/{campaign_id}/send", operation_id="get_campaign_send", responses=responses(401, 403, 404, 422)
)
async def get_campaign_send(campaign_id: UUID, caller: DeliveryReader, services: Services) -> SendAnswer:
    """Return how far a campaign is, with its deliveries counted by state. 404 until the campaign has started."""
    return SendAnswer.of(await services.resolving.get_send(caller.organisation_id, campaign_id))
