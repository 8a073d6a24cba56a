"""Counting what other services tell of recipients: delivery outcomes and unsubscribes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from uuid import UUID

from posthorn_analytics.app.erasing import Pseudonyms
from posthorn_analytics.app.ports import ChangeSignal, NewUnitOfWork, UnitOfWork
from posthorn_analytics.domain.recipients import Recipient
from posthorn_analytics.domain.tallies import CampaignTally, Tally
from posthorn_contracts.campaigns.v1 import ContactUnsubscribed
from posthorn_contracts.mailer.v1 import DeliveriesRecorded, DeliveryOutcome, DeliveryRecord

# Whose message may lie in a mailbox.
_DELIVERED = frozenset({DeliveryOutcome.SENT, DeliveryOutcome.AMBIGUOUS, DeliveryOutcome.COMPLAINED})
_HOURLY = frozenset(
    {
        DeliveryOutcome.SENT,
        DeliveryOutcome.DEFERRED,
        DeliveryOutcome.BOUNCED,
        DeliveryOutcome.FAILED,
        DeliveryOutcome.COMPLAINED,
    }
)


class Counting:
    """The use cases of counting. Each is idempotent, and their order does not matter."""

    def __init__(self, *, new_unit_of_work: NewUnitOfWork, pseudonyms: Pseudonyms, signal: ChangeSignal) -> None:
        self._new_unit_of_work = new_unit_of_work
        self._pseudonyms = pseudonyms
        self._signal = signal

    async def on_deliveries_recorded(self, event: DeliveriesRecorded) -> None:
        """Deliveries have come to an outcome, or moved from one to another."""
        campaign_id = event.data.campaign_id
        tally = Tally()
        counters = tally.of(event.organisation_id, campaign_id)
        for record in event.data.records:
            _count(record, counters)
        delivered = _delivered(event.data.records)
        async with self._new_unit_of_work() as uow:
            replaced = await self._pseudonyms.replaced(uow, delivered)
            if not await uow.first_time(event):
                return
            await _deliver(uow, counters, {replaced.get(id_, id_): record for id_, record in delivered.items()})
            await uow.counters.apply(tally)
        self._signal.changed([campaign_id])

    async def on_contact_unsubscribed(self, event: ContactUnsubscribed) -> None:
        """A contact does not want mail any more; it counts for the campaign whose link was used."""
        campaign_id = event.data.campaign_id
        if campaign_id is None:
            return
        tally = Tally()
        async with self._new_unit_of_work() as uow:
            replaced = await self._pseudonyms.replaced(uow, [event.data.contact_id])
            if not await uow.first_time(event):
                return
            contact_id = replaced.get(event.data.contact_id, event.data.contact_id)
            key = (campaign_id, contact_id)
            await uow.recipients.add([Recipient(event.organisation_id, campaign_id, contact_id)])
            recipient = (await uow.recipients.lock([key]))[key]
            recipient.unsubscribe(event.occurred_at, tally.of(event.organisation_id, campaign_id))
            await uow.recipients.save([recipient])
            await uow.counters.apply(tally)
        self._signal.changed([campaign_id])


def _count(record: DeliveryRecord, tally: CampaignTally) -> None:
    tally.touch(record.at)
    tally.add(record.outcome, domain=record.domain)
    if record.previous is not None:
        tally.add(record.previous, -1, domain=record.domain)
    if record.outcome in _HOURLY and record.outcome != record.previous:
        tally.add_to_hour(record.outcome, record.at)


def _delivered(records: Sequence[DeliveryRecord]) -> dict[UUID, DeliveryRecord]:
    """Return the earliest record of each contact whose message may lie in a mailbox."""
    latest_first = sorted(records, key=lambda record: record.at, reverse=True)
    return {record.contact_id: record for record in latest_first if record.outcome in _DELIVERED}


async def _deliver(uow: UnitOfWork, tally: CampaignTally, delivered: Mapping[UUID, DeliveryRecord]) -> None:
    """Remember whose message may lie in a mailbox. Almost all are new; who was there before has acted before."""
    new = [
        Recipient(tally.organisation_id, tally.campaign_id, contact_id, domain=record.domain, sent_at=record.at)
        for contact_id, record in delivered.items()
    ]
    added = await uow.recipients.add(new)
    known = await uow.recipients.lock(
        (tally.campaign_id, id_) for id_ in delivered if (tally.campaign_id, id_) not in added
    )
    for recipient in known.values():
        record = delivered[recipient.contact_id]
        recipient.deliver(record.domain, record.at, tally)
    await uow.recipients.save(list(known.values()))
