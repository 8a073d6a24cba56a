"""What somebody does with a campaign: schedule, pause, resume, cancel and so on.

Each is one guarded transition and its event in one transaction. RabbitMQ may be away: the event leaves later.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from uuid import UUID

from posthorn_campaigns.app.managing_campaigns import check_references
from posthorn_campaigns.app.ports import NewUnitOfWork
from posthorn_campaigns.domain.campaigns import Campaign
from posthorn_common.clock import Clock
from posthorn_common.events import event
from posthorn_contracts.campaigns.v1 import (
    CampaignCancelled,
    CampaignPaused,
    CampaignRef,
    CampaignResumed,
    CampaignRetryRequested,
    CampaignScheduled,
    CampaignScheduledData,
    CampaignUnscheduled,
)
from posthorn_contracts.envelope import Event


class RunningCampaigns:
    """The actions on campaigns. All raise CampaignNotFound, and InvalidTransition where the status forbids it."""

    def __init__(self, *, new_unit_of_work: NewUnitOfWork, clock: Clock, retry_failed_within: timedelta) -> None:
        self._new_unit_of_work = new_unit_of_work
        self._clock = clock
        self._retry_failed_within = retry_failed_within

    async def schedule(self, organisation_id: UUID, campaign_id: UUID, at: datetime | None) -> Campaign:
        """Have the campaign start at a time, or now; one that is scheduled gets another time.

        Raises ScheduleInvalid, NoSuchReference.
        """
        async with self._new_unit_of_work() as uow:
            campaign = await uow.campaigns.get(organisation_id, campaign_id, lock=True)
            now = await uow.campaigns.now()
            scheduled = campaign.schedule(at or now, now)
            await check_references(uow, scheduled)
            saved = await uow.campaigns.save(scheduled, now)
            data = CampaignScheduledData(campaign_id=saved.id, name=saved.name, scheduled_at=at or now)
            await uow.publish(event(CampaignScheduled, saved.id, organisation_id, data, self._clock))
        return saved

    async def unschedule(self, organisation_id: UUID, campaign_id: UUID) -> Campaign:
        """Make a scheduled campaign a draft again."""
        return await self._move(
            organisation_id, campaign_id, lambda campaign, _now: campaign.unschedule(), tells=CampaignUnscheduled
        )

    async def pause(self, organisation_id: UUID, campaign_id: UUID) -> Campaign:
        """Hold a campaign that is sending."""
        return await self._move(
            organisation_id, campaign_id, lambda campaign, now: campaign.pause(now), tells=CampaignPaused
        )

    async def resume(self, organisation_id: UUID, campaign_id: UUID) -> Campaign:
        """Let a paused campaign go on where it stopped."""
        return await self._move(
            organisation_id, campaign_id, lambda campaign, _now: campaign.resume(), tells=CampaignResumed
        )

    async def retry_failed(self, organisation_id: UUID, campaign_id: UUID) -> Campaign:
        """Try the failed deliveries of a campaign that has completed with errors again. Raises RetryTooLate."""
        return await self._move(
            organisation_id,
            campaign_id,
            lambda campaign, now: campaign.retry_failed(now - self._retry_failed_within),
            tells=CampaignRetryRequested,
        )

    async def cancel(self, organisation_id: UUID, campaign_id: UUID) -> Campaign:
        """End a campaign that is scheduled, sending or paused for good."""
        return await self._move(
            organisation_id, campaign_id, lambda campaign, now: campaign.cancel(now), tells=CampaignCancelled
        )

    async def _move(
        self,
        organisation_id: UUID,
        campaign_id: UUID,
        move: Callable[[Campaign, datetime], Campaign],
        *,
        tells: type[Event],
    ) -> Campaign:
        async with self._new_unit_of_work() as uow:
            campaign = await uow.campaigns.get(organisation_id, campaign_id, lock=True)
            now = await uow.campaigns.now()
            saved = await uow.campaigns.save(move(campaign, now), now)
            data = CampaignRef(campaign_id=saved.id)
            await uow.publish(event(tells, saved.id, organisation_id, data, self._clock))
        return saved
