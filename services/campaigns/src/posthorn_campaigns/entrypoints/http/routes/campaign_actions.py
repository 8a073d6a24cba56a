"""What is done with campaigns: `POST /v1/campaigns/{campaign_id}/actions/<verb>`."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends

from posthorn_campaigns.entrypoints.http.deps import Services
from posthorn_campaigns.entrypoints.http.schemas_campaigns import (
    CampaignAnswer,
    ScheduleRequest,
    TestSendAnswer,
    TestSendRequest,
)
from posthorn_common.http.identity import requires
from posthorn_common.http.problems import responses
from posthorn_common.tokens import Principal
from posthorn_contracts.permissions import Permission

router = APIRouter(tags=["campaigns"], prefix="/v1/campaigns/{campaign_id}/actions")

Writer = Annotated[Principal, Depends(requires(Permission.CAMPAIGNS_WRITE))]
Sender = Annotated[Principal, Depends(requires(Permission.CAMPAIGNS_SEND))]
_PROBLEMS = responses(401, 403, 404, 409, 422, 503)


@router.post("/schedule", operation_id="schedule_campaign", responses=_PROBLEMS)
async def schedule_campaign(
    campaign_id: UUID, body: ScheduleRequest, caller: Sender, services: Services
) -> CampaignAnswer:
    """Have the campaign start at a time; a scheduled campaign gets another time."""
    scheduled = await services.running_campaigns.schedule(caller.organisation_id, campaign_id, body.scheduled_at)
    return CampaignAnswer.model_validate(scheduled)


@router.post("/send", operation_id="send_campaign", responses=_PROBLEMS)
async def send_campaign(campaign_id: UUID, caller: Sender, services: Services) -> CampaignAnswer:
    """Have the campaign start now."""
    scheduled = await services.running_campaigns.schedule(caller.organisation_id, campaign_id, None)
    return CampaignAnswer.model_validate(scheduled)


@router.post("/unschedule", operation_id="unschedule_campaign", responses=_PROBLEMS)
async def unschedule_campaign(campaign_id: UUID, caller: Sender, services: Services) -> CampaignAnswer:
    """Make a scheduled campaign a draft again."""
    return CampaignAnswer.model_validate(
        await services.running_campaigns.unschedule(caller.organisation_id, campaign_id)
    )


@router.post("/pause", operation_id="pause_campaign", responses=_PROBLEMS)
async def pause_campaign(campaign_id: UUID, caller: Sender, services: Services) -> CampaignAnswer:
    """Hold a campaign that is sending."""
    return CampaignAnswer.model_validate(await services.running_campaigns.pause(caller.organisation_id, campaign_id))


@router.post("/resume", operation_id="resume_campaign", responses=_PROBLEMS)
async def resume_campaign(campaign_id: UUID, caller: Sender, services: Services) -> CampaignAnswer:
    """Let a paused campaign go on exactly where it stopped."""
    return CampaignAnswer.model_validate(await services.running_campaigns.resume(caller.organisation_id, campaign_id))


@router.post("/cancel", operation_id="cancel_campaign", responses=_PROBLEMS)
async def cancel_campaign(campaign_id: UUID, caller: Sender, services: Services) -> CampaignAnswer:
    """End a campaign for good: whoever has not been mailed yet will not be."""
    return CampaignAnswer.model_validate(await services.running_campaigns.cancel(caller.organisation_id, campaign_id))


@router.post("/retry-failed", operation_id="retry_failed_deliveries", responses=_PROBLEMS)
async def retry_failed_deliveries(campaign_id: UUID, caller: Sender, services: Services) -> CampaignAnswer:
    """Try the failed deliveries of a campaign that has completed with errors again."""
    return CampaignAnswer.model_validate(
        await services.running_campaigns.retry_failed(caller.organisation_id, campaign_id)
    )


@router.post(
    "/duplicate",
    operation_id="duplicate_campaign",
    status_code=201,
    responses=responses(401, 403, 404, 422, 503),
)
async def duplicate_campaign(campaign_id: UUID, caller: Writer, services: Services) -> CampaignAnswer:
    """Make a draft with the same content, and return it."""
    return CampaignAnswer.model_validate(
        await services.managing_campaigns.duplicate(caller.organisation_id, campaign_id)
    )


@router.post("/test-send", operation_id="test_send_campaign", status_code=202, responses=_PROBLEMS)
async def test_send_campaign(
    campaign_id: UUID, body: TestSendRequest, caller: Sender, services: Services
) -> TestSendAnswer:
    """Send the campaign to up to five addresses, rendered for a contact or a sample."""
    to = list(dict.fromkeys(body.to))
    message = await services.sending_tests.send(caller.organisation_id, campaign_id, to, body.contact_id)
    return TestSendAnswer(to=to, subject=message.subject, warnings=list(message.warnings))
