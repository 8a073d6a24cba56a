"""Following campaigns: status, name, audience, links, as their events tell."""

from __future__ import annotations

from uuid import UUID

from posthorn_analytics.app.ports import CampaignDirectory, ChangeSignal, Fact, NewUnitOfWork
from posthorn_analytics.domain.campaigns import CampaignStatus
from posthorn_analytics.domain.errors import CampaignNotFound
from posthorn_contracts.campaigns.v1 import (
    CampaignCancelled,
    CampaignCompleted,
    CampaignPaused,
    CampaignResumed,
    CampaignRetryRequested,
    CampaignScheduled,
    CampaignStarted,
    CampaignUnscheduled,
)
from posthorn_contracts.envelope import Event
from posthorn_contracts.mailer.v1 import SendImpeded, SendPlanned, SendRecovered

StatusEvent = (
    CampaignScheduled
    | CampaignUnscheduled
    | CampaignPaused
    | CampaignResumed
    | CampaignCancelled
    | CampaignRetryRequested
    | CampaignCompleted
)


class FollowingCampaigns:
    """The use cases of following. Each is idempotent, and their order does not matter."""

    def __init__(self, *, new_unit_of_work: NewUnitOfWork, directory: CampaignDirectory, signal: ChangeSignal) -> None:
        self._new_unit_of_work = new_unit_of_work
        self._directory = directory
        self._signal = signal

    async def make_known(self, organisation_id: UUID, campaign_id: UUID) -> None:
        """Make sure that there is something to tell of a campaign that no event has told of yet.

        Raises CampaignNotFound if the organisation has no such campaign, TransientError if nobody can be asked.
        """
        async with self._new_unit_of_work() as uow:
            if await uow.campaigns.exists(organisation_id, campaign_id):
                return
        found = await self._directory.look_up(campaign_id)
        if found is None or found[0].organisation_id != organisation_id:
            raise CampaignNotFound
        async with self._new_unit_of_work() as uow:
            await uow.campaigns.set_name(*found)

    async def on_status(self, event: StatusEvent) -> None:
        """A campaign has changed its status."""
        fact = _fact(event, event.data.campaign_id)
        async with self._new_unit_of_work() as uow:
            if not await uow.first_time(event):
                return
            if isinstance(event, CampaignScheduled):
                await uow.campaigns.set_name(fact, event.data.name)
            await uow.campaigns.set_status(fact, _status(event))
        self._signal.changed([fact.campaign_id])

    async def on_campaign_started(self, event: CampaignStarted) -> None:
        """A campaign is being sent, and its links are pinned."""
        fact = _fact(event, event.data.campaign_id)
        links = {link.number: link.url for link in event.data.links}
        async with self._new_unit_of_work() as uow:
            if not await uow.first_time(event):
                return
            await uow.campaigns.add_links(fact.organisation_id, fact.campaign_id, links)
            await uow.campaigns.set_name(fact, event.data.name)
            await uow.campaigns.set_started(fact)
            await uow.campaigns.set_status(fact, CampaignStatus.SENDING)
        self._signal.changed([fact.campaign_id])

    async def on_send_planned(self, event: SendPlanned) -> None:
        """The number of recipients is known."""
        fact = _fact(event, event.data.campaign_id)
        async with self._new_unit_of_work() as uow:
            if not await uow.first_time(event):
                return
            await uow.campaigns.set_audience(fact, event.data.audience)
        self._signal.changed([fact.campaign_id])

    async def on_notice(self, event: SendImpeded | SendRecovered) -> None:
        """Something keeps the campaign from being sent at present, or does no more."""
        fact = _fact(event, event.data.campaign_id)
        notice = event.data.reason if isinstance(event, SendImpeded) else None
        async with self._new_unit_of_work() as uow:
            if not await uow.first_time(event):
                return
            await uow.campaigns.set_notice(fact, notice)
        self._signal.changed([fact.campaign_id])


_STATUSES: dict[type[Event], CampaignStatus] = {
    CampaignScheduled: CampaignStatus.SCHEDULED,
    CampaignUnscheduled: CampaignStatus.DRAFT,
    CampaignPaused: CampaignStatus.PAUSED,
    CampaignResumed: CampaignStatus.SENDING,
    CampaignRetryRequested: CampaignStatus.SENDING,
    CampaignCancelled: CampaignStatus.CANCELLED,
}


def _status(event: StatusEvent) -> CampaignStatus:
    if isinstance(event, CampaignCompleted):
        return CampaignStatus(event.data.status)
    return _STATUSES[type(event)]


def _fact(event: Event, campaign_id: UUID) -> Fact:
    return Fact(organisation_id=event.organisation_id, campaign_id=campaign_id, at=event.occurred_at)
