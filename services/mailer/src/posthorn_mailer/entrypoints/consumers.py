"""Which events the mailer listens to, and what it does about them."""

from __future__ import annotations

from uuid import UUID

from posthorn_contracts.campaigns.v1 import (
    CampaignCancelled,
    CampaignPaused,
    CampaignResumed,
    CampaignRetryRequested,
    CampaignStarted,
    ContactErased,
    ContactResubscribed,
    ContactUnsubscribed,
)
from posthorn_contracts.envelope import Event
from posthorn_mailer.app.controlling import Order
from posthorn_mailer.bootstrap import Container

CONSUMER = "mailer"


def subscribe(container: Container) -> None:
    """Add all subscriptions to the container's bus."""
    _subscribe_to_campaigns(container)
    _subscribe_to_contacts(container)


def _subscribe_to_campaigns(container: Container) -> None:
    controlling, bus = container.controlling, container.bus

    async def on_campaign_started(event: CampaignStarted) -> None:
        order = _order(event, event.data.campaign_id)
        data = event.data
        await controlling.start(
            order,
            name=data.name,
            relay_id=data.relay_id,
            on_ambiguous=data.on_ambiguous,
            messages_per_second=data.messages_per_second,
        )

    async def on_campaign_paused(event: CampaignPaused) -> None:
        await controlling.pause(_order(event, event.data.campaign_id))

    async def on_campaign_resumed(event: CampaignResumed) -> None:
        await controlling.resume(_order(event, event.data.campaign_id))

    async def on_campaign_cancelled(event: CampaignCancelled) -> None:
        await controlling.cancel(_order(event, event.data.campaign_id))

    async def on_campaign_retry_requested(event: CampaignRetryRequested) -> None:
        await controlling.retry_failed(_order(event, event.data.campaign_id))

    bus.subscribe(CampaignStarted, on_campaign_started, consumer=CONSUMER)
    bus.subscribe(CampaignPaused, on_campaign_paused, consumer=CONSUMER)
    bus.subscribe(CampaignResumed, on_campaign_resumed, consumer=CONSUMER)
    bus.subscribe(CampaignCancelled, on_campaign_cancelled, consumer=CONSUMER)
    bus.subscribe(CampaignRetryRequested, on_campaign_retry_requested, consumer=CONSUMER)


def _subscribe_to_contacts(container: Container) -> None:
    suppressing, bus = container.suppressing, container.bus

    async def on_contact_unsubscribed(event: ContactUnsubscribed) -> None:
        await suppressing.on_contact_unsubscribed(event, CONSUMER)
        await container.withdrawing.on_contact_unsubscribed(event)

    async def on_contact_resubscribed(event: ContactResubscribed) -> None:
        await suppressing.on_contact_resubscribed(event, CONSUMER)

    bus.subscribe(ContactUnsubscribed, on_contact_unsubscribed, consumer=CONSUMER)
    bus.subscribe(ContactResubscribed, on_contact_resubscribed, consumer=CONSUMER)
    bus.subscribe(ContactErased, container.erasing.on_contact_erased, consumer=CONSUMER)


def _order(event: Event, campaign_id: UUID) -> Order:
    return Order(
        id=event.id, organisation_id=event.organisation_id, campaign_id=campaign_id, given_at=event.occurred_at
    )
