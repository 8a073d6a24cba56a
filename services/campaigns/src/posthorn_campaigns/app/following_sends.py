"""What the mailer tells about campaigns and contacts. Events come in no certain order, and some come twice."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from datetime import datetime
from uuid import UUID

from posthorn_campaigns.app.ports import NewUnitOfWork, UnitOfWork
from posthorn_campaigns.domain.activities import ActivityKind, NotedActivity
from posthorn_campaigns.domain.audience import ContactStatus
from posthorn_campaigns.domain.campaigns import Campaign, CampaignStatus, Counts
from posthorn_campaigns.domain.errors import CampaignNotFound
from posthorn_campaigns.domain.rules import EngagementKind
from posthorn_common.clock import Clock
from posthorn_common.events import event as new_event
from posthorn_contracts.analytics.v1 import EngagementKind as ToldKind
from posthorn_contracts.analytics.v1 import EngagementsRecorded
from posthorn_contracts.campaigns.v1 import CampaignCompleted, CampaignCompletedData, CampaignPaused, CampaignRef
from posthorn_contracts.mailer.v1 import (
    ContactSuppressed,
    DeliveriesRecorded,
    DeliveryOutcome,
    DeliveryRecord,
    SendDrained,
    SendFailed,
    SendGuarded,
    SendImpeded,
    SendPlanned,
    SendRecovered,
)

_COUNTED = {
    DeliveryOutcome.SENT: "sent",
    DeliveryOutcome.BOUNCED: "bounced",
    DeliveryOutcome.FAILED: "failed",
    DeliveryOutcome.SUPPRESSED: "suppressed",
    DeliveryOutcome.CANCELLED: "cancelled",
    DeliveryOutcome.AMBIGUOUS: "ambiguous",
    # Whoever complains has got the message. Deferred deliveries have no outcome yet.
    DeliveryOutcome.COMPLAINED: "sent",
}
_STATUS_BY_REASON = {"hard_bounce": ContactStatus.BOUNCED, "complaint": ContactStatus.COMPLAINED}
_ENGAGEMENTS = {ToldKind.OPEN: EngagementKind.OPENED, ToldKind.CLICK: EngagementKind.CLICKED}
_NOTED = {
    DeliveryOutcome.SENT: ActivityKind.SENT,
    DeliveryOutcome.BOUNCED: ActivityKind.BOUNCED,
    DeliveryOutcome.FAILED: ActivityKind.FAILED,
    DeliveryOutcome.SUPPRESSED: ActivityKind.SUPPRESSED,
    DeliveryOutcome.COMPLAINED: ActivityKind.COMPLAINED,
}
_RUNNING = frozenset({CampaignStatus.SENDING, CampaignStatus.PAUSED})


class FollowingSends:
    """Handlers of the mailer's events. Each may be called again with the same event, which changes nothing."""

    def __init__(self, *, new_unit_of_work: NewUnitOfWork, clock: Clock) -> None:
        self._new_unit_of_work = new_unit_of_work
        self._clock = clock

    async def on_send_planned(self, event: SendPlanned) -> None:
        """Show the size of the audience."""
        async with self._new_unit_of_work() as uow:
            if await uow.first_time(event):
                await uow.campaigns.set_audience(event.organisation_id, event.data.campaign_id, event.data.audience)

    async def on_deliveries_recorded(self, event: DeliveriesRecorded) -> None:
        """Move the live counts, and note who has been written to."""
        changes = count_changes(event.data.records)
        sent = {record.contact_id: record.at for record in event.data.records if record.outcome is DeliveryOutcome.SENT}
        async with self._new_unit_of_work() as uow:
            if not await uow.first_time(event):
                return
            # Before the campaign's row, which every event about the campaign waits for.
            await uow.engagements.record(event.organisation_id, EngagementKind.SENT, sent)
            await uow.activities.note(event.organisation_id, event.data.campaign_id, _noted(event.data.records))
            if changes:
                await uow.campaigns.add_to_counts(event.organisation_id, event.data.campaign_id, changes)

    async def on_engagements_recorded(self, event: EngagementsRecorded) -> None:
        """Note who has opened or clicked."""
        latest: dict[EngagementKind, dict[UUID, datetime]] = {EngagementKind.OPENED: {}, EngagementKind.CLICKED: {}}
        for engagement in event.data.engagements:
            times = latest[_ENGAGEMENTS[engagement.kind]]
            times[engagement.contact_id] = max(engagement.at, times.get(engagement.contact_id, engagement.at))
        async with self._new_unit_of_work() as uow:
            if await uow.first_time(event):
                for kind, times in latest.items():
                    await uow.engagements.record(event.organisation_id, kind, times)
                noted = [
                    NotedActivity(one.contact_id, ActivityKind(_ENGAGEMENTS[one.kind].value), one.at)
                    for one in event.data.engagements
                ]
                await uow.activities.note(event.organisation_id, event.data.campaign_id, noted)

    async def on_send_impeded(self, event: SendImpeded) -> None:
        """Show what is in the way."""
        await self._notice(event, event.data.campaign_id, event.data.reason)

    async def on_send_recovered(self, event: SendRecovered) -> None:
        """Show that nothing is in the way any more."""
        await self._notice(event, event.data.campaign_id, None)

    async def on_send_guarded(self, event: SendGuarded) -> None:
        """Pause a campaign of which too much bounces or annoys; the mailer has stopped already.

        The order to pause goes to the mailer like a person's, so that both come to the same state whatever was ordered
        meanwhile.
        """
        data = event.data
        async with self._new_unit_of_work() as uow:
            if not await uow.first_time(event):
                return
            campaign = await _campaign(uow, event.organisation_id, data.campaign_id)
            if campaign is None or campaign.status not in _RUNNING:
                return
            now = await uow.campaigns.now()
            saved = await uow.campaigns.save(campaign.guard(data.code, data.reason, now), now)
            if saved.status is not campaign.status:
                ref = CampaignRef(campaign_id=saved.id)
                await uow.publish(new_event(CampaignPaused, saved.id, saved.organisation_id, ref, self._clock))

    async def on_send_failed(self, event: SendFailed) -> None:
        """End a campaign that cannot be sent."""
        async with self._new_unit_of_work() as uow:
            if not await uow.first_time(event):
                return
            campaign = await _campaign(uow, event.organisation_id, event.data.campaign_id)
            if campaign is not None and campaign.status in _RUNNING:
                await self._save(uow, campaign, campaign.fail(event.data.reason, self._clock.now()))

    async def on_send_drained(self, event: SendDrained) -> None:
        """Take in the final counts, and complete the campaign."""
        data = event.data
        counts = Counts(
            audience=data.audience,
            sent=data.sent,
            bounced=data.bounced,
            failed=data.failed,
            suppressed=data.suppressed,
            cancelled=data.cancelled,
            ambiguous=data.ambiguous,
        )
        async with self._new_unit_of_work() as uow:
            if not await uow.first_time(event):
                return
            campaign = await _campaign(uow, event.organisation_id, data.campaign_id)
            if campaign is not None:
                await self._save(uow, campaign, campaign.settle(counts, event.occurred_at, self._clock.now()))

    async def on_contact_suppressed(self, event: ContactSuppressed) -> None:
        """Note that a contact's address does not exist, or that the contact has complained."""
        status = _STATUS_BY_REASON.get(event.data.reason)
        async with self._new_unit_of_work() as uow:
            if await uow.first_time(event) and status is not None:
                await uow.contacts.set_status(event.organisation_id, event.data.contact_id, status, self._clock.now())

    async def _notice(self, event: SendImpeded | SendRecovered, campaign_id: UUID, notice: str | None) -> None:
        async with self._new_unit_of_work() as uow:
            if await uow.first_time(event):
                await uow.campaigns.set_notice(event.organisation_id, campaign_id, notice, event.occurred_at)

    async def _save(self, uow: UnitOfWork, before: Campaign, after: Campaign) -> None:
        if after == before:
            return
        saved = await uow.campaigns.save(after, self._clock.now())
        if saved.status is before.status:
            return
        # fail and settle lead nowhere else.
        data = CampaignCompletedData.model_validate({"campaign_id": saved.id, "status": saved.status.value})
        await uow.publish(new_event(CampaignCompleted, saved.id, saved.organisation_id, data, self._clock))


def count_changes(records: tuple[DeliveryRecord, ...]) -> dict[str, int]:
    """Return by how much each count moves."""
    changes: Counter[str] = Counter()
    for record in records:
        if (name := _COUNTED.get(record.outcome)) is not None:
            changes[name] += 1
        if record.previous is not None and (name := _COUNTED.get(record.previous)) is not None:
            changes[name] -= 1
    return {name: change for name, change in changes.items() if change}


async def _campaign(uow: UnitOfWork, organisation_id: UUID, campaign_id: UUID) -> Campaign | None:
    """Return the campaign, locked, or None if it has been deleted."""
    try:
        return await uow.campaigns.get(organisation_id, campaign_id, lock=True)
    except CampaignNotFound:
        return None


def _noted(records: Iterable[DeliveryRecord]) -> list[NotedActivity]:
    return [
        NotedActivity(record.contact_id, _NOTED[record.outcome], record.at)
        for record in records
        if record.outcome in _NOTED
    ]
