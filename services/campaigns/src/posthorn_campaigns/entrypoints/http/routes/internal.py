"""What other services read of a campaign, with a service token."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

import orjson
from fastapi import APIRouter, Depends, Query, Response

from posthorn_campaigns.entrypoints.http.deps import Services
from posthorn_common.http.identity import internal_caller
from posthorn_contracts.campaigns.internal_v1 import AudiencePage, CampaignContent, CampaignLinks, CampaignSummary

MAX_AUDIENCE_PAGE = 5000

router = APIRouter(
    include_in_schema=False, prefix="/internal/campaigns/{campaign_id}", dependencies=[Depends(internal_caller)]
)


@router.get("")
async def get_summary(campaign_id: UUID, services: Services) -> CampaignSummary:
    """Return whose campaign it is."""
    return await services.serving_content.summary(campaign_id)


@router.get("/content")
async def get_content(campaign_id: UUID, services: Services) -> CampaignContent:
    """Return what the campaign sends."""
    return await services.serving_content.content(campaign_id)


@router.get("/links")
async def get_links(campaign_id: UUID, services: Services) -> CampaignLinks:
    """Return the campaign's link table."""
    return await services.serving_content.links(campaign_id)


@router.get("/audience", response_model=AudiencePage)
async def get_audience(
    campaign_id: UUID,
    services: Services,
    limit: Annotated[int, Query(ge=1, le=MAX_AUDIENCE_PAGE)] = MAX_AUDIENCE_PAGE,
    cursor: Annotated[UUID | None, Query(description="`next_cursor` of the page before.")] = None,
) -> Response:
    """Return those who are to be mailed, by contact id."""
    page = await services.serving_content.audience(campaign_id, cursor, limit)
    # An AudiencePage. A million of them are read before a campaign starts: models would take most of the time.
    members = [
        {"contact_id": str(contact_id), "email": email, "fields": fields} for contact_id, email, fields in page.members
    ]
    document = orjson.dumps({"members": members, "next_cursor": page.next_cursor})
    return Response(document, media_type="application/json")
