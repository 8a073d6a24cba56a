"""Which events the service listens to."""

from __future__ import annotations

from posthorn_analytics.adapters.db.unit_of_work import CONSUMER
from posthorn_analytics.bootstrap import Container
from posthorn_contracts.campaigns.v1 import (
    CampaignCancelled,
    CampaignCompleted,
    CampaignPaused,
    CampaignResumed,
    CampaignRetryRequested,
    CampaignScheduled,
    CampaignStarted,
    CampaignUnscheduled,
    ContactErased,
    ContactUnsubscribed,
)
from posthorn_contracts.mailer.v1 import DeliveriesRecorded, SendImpeded, SendPlanned, SendRecovered

# A message holds up to a thousand records and is one transaction; those of a campaign wait for one another's row.
_RECORDED_PREFETCH = 4


def subscribe(container: Container) -> None:
    """Have the container's use cases called for each event that they know."""
    bus, following, counting = container.bus, container.following, container.counting
    bus.subscribe(CampaignScheduled, following.on_status, consumer=CONSUMER)
    bus.subscribe(CampaignUnscheduled, following.on_status, consumer=CONSUMER)
    bus.subscribe(CampaignStarted, following.on_campaign_started, consumer=CONSUMER)
    bus.subscribe(CampaignPaused, following.on_status, consumer=CONSUMER)
    bus.subscribe(CampaignResumed, following.on_status, consumer=CONSUMER)
    bus.subscribe(CampaignCancelled, following.on_status, consumer=CONSUMER)
    bus.subscribe(CampaignRetryRequested, following.on_status, consumer=CONSUMER)
    bus.subscribe(CampaignCompleted, following.on_status, consumer=CONSUMER)
    bus.subscribe(SendPlanned, following.on_send_planned, consumer=CONSUMER)
    bus.subscribe(SendImpeded, following.on_notice, consumer=CONSUMER)
    bus.subscribe(SendRecovered, following.on_notice, consumer=CONSUMER)
    bus.subscribe(DeliveriesRecorded, counting.on_deliveries_recorded, consumer=CONSUMER, prefetch=_RECORDED_PREFETCH)
    bus.subscribe(ContactUnsubscribed, counting.on_contact_unsubscribed, consumer=CONSUMER)
    bus.subscribe(ContactErased, container.erasing.on_contact_erased, consumer=CONSUMER)
