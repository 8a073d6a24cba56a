"""What routes depend on."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import Depends, Request

from posthorn_analytics.bootstrap import Container
from posthorn_common.http.identity import requires
from posthorn_common.tokens import Principal
from posthorn_contracts.permissions import Permission


def container(request: Request) -> Container:
    """Return the service's container."""
    found: Container = request.app.state.container
    return found


Services = Annotated[Container, Depends(container)]
Reader = Annotated[Principal, Depends(requires(Permission.STATISTICS_READ))]


async def known_campaign(campaign_id: UUID, caller: Reader, services: Services) -> UUID:
    """Return the id of a campaign of the caller's organisation; one that events have not told of yet is looked up."""
    await services.following.make_known(caller.organisation_id, campaign_id)
    return campaign_id


CampaignId = Annotated[UUID, Depends(known_campaign)]
