"""Campaigns: written and looked at."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Query

from posthorn_campaigns.app.managing_campaigns import CampaignFields, CampaignFilter
from posthorn_campaigns.domain.campaigns import CampaignStatus
from posthorn_campaigns.entrypoints.http.deps import Services
from posthorn_campaigns.entrypoints.http.schemas_campaigns import (
    CampaignAnswer,
    CampaignChangeRequest,
    CampaignRequest,
    unique,
)
from posthorn_common.http.identity import requires
from posthorn_common.http.pagination import Page, Paging, encode_cursor, id_after
from posthorn_common.http.problems import responses
from posthorn_common.tokens import Principal
from posthorn_contracts.permissions import Permission

router = APIRouter(tags=["campaigns"])

Reader = Annotated[Principal, Depends(requires(Permission.CAMPAIGNS_READ))]
Writer = Annotated[Principal, Depends(requires(Permission.CAMPAIGNS_WRITE))]


class CampaignQuery:
    """Which campaigns a caller asks for."""

    def __init__(
        self,
        status: Annotated[CampaignStatus | None, Query(description="Only campaigns in this status.")] = None,
        search: Annotated[str | None, Query(max_length=200, description="A part of the name.")] = None,
    ) -> None:
        self.filter = CampaignFilter(status=status, search=search)


@router.get("/v1/campaigns", operation_id="list_campaigns", responses=responses(400, 401, 403, 422, 503))
async def list_campaigns(
    caller: Reader, page: Paging, wanted: Annotated[CampaignQuery, Depends()], services: Services
) -> Page[CampaignAnswer]:
    """List the organisation's campaigns, newest first."""
    found = await services.managing_campaigns.list_campaigns(
        caller.organisation_id, wanted.filter, id_after(page), page.limit + 1
    )
    items = [CampaignAnswer.model_validate(campaign) for campaign in found[: page.limit]]
    return Page(items=items, next_cursor=encode_cursor(items[-1].id) if len(found) > page.limit else None)


@router.post("/v1/campaigns", operation_id="create_campaign", status_code=201, responses=responses(401, 403, 422, 503))
async def create_campaign(body: CampaignRequest, caller: Writer, services: Services) -> CampaignAnswer:
    """Write a campaign. It is a draft until it is scheduled or sent."""
    fields = CampaignFields(
        name=body.name,
        template_id=body.template_id,
        list_ids=unique(body.list_ids),
        segment_ids=unique(body.segment_ids),
        exclude_list_ids=unique(body.exclude_list_ids),
        exclude_segment_ids=unique(body.exclude_segment_ids),
        from_name=body.from_name,
        from_email=body.from_email,
        reply_to=body.reply_to,
        relay_id=body.relay_id,
        messages_per_second=body.messages_per_second,
        track_opens=body.track_opens,
        track_clicks=body.track_clicks,
        on_ambiguous=body.on_ambiguous,
    )
    return CampaignAnswer.model_validate(await services.managing_campaigns.add(caller.organisation_id, fields))


@router.get("/v1/campaigns/{campaign_id}", operation_id="get_campaign", responses=responses(401, 403, 404, 422, 503))
async def get_campaign(campaign_id: UUID, caller: Reader, services: Services) -> CampaignAnswer:
    """Return a campaign with its counts."""
    return CampaignAnswer.model_validate(await services.managing_campaigns.get(caller.organisation_id, campaign_id))


@router.patch(
    "/v1/campaigns/{campaign_id}", operation_id="change_campaign", responses=responses(401, 403, 404, 409, 422, 503)
)
async def change_campaign(
    campaign_id: UUID, body: CampaignChangeRequest, caller: Writer, services: Services
) -> CampaignAnswer:
    """Change a campaign that has not started. A scheduled one stays scheduled."""
    changed = await services.managing_campaigns.change(
        caller.organisation_id, campaign_id, body.changes(), body.version
    )
    return CampaignAnswer.model_validate(changed)


@router.delete(
    "/v1/campaigns/{campaign_id}",
    operation_id="delete_campaign",
    status_code=204,
    responses=responses(401, 403, 404, 409, 422, 503),
)
async def delete_campaign(campaign_id: UUID, caller: Writer, services: Services) -> None:
    """Delete a campaign; 409 while it is scheduled, sending or paused."""
    await services.managing_campaigns.delete(caller.organisation_id, campaign_id)
