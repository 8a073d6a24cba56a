"""Every event that the campaigns service listens to."""

from __future__ import annotations

from posthorn_campaigns.app.erasing import Erasing
from posthorn_campaigns.app.following_sends import FollowingSends
from posthorn_campaigns.app.following_suppressions import FollowingSuppressions
from posthorn_campaigns.app.unsubscribing import Unsubscribing
from posthorn_common.messaging import EventBus
from posthorn_contracts.analytics.v1 import EngagementsRecorded, ErasedByAnalytics
from posthorn_contracts.mailer.v1 import (
    ContactSuppressed,
    DeliveriesRecorded,
    ErasedByMailer,
    SendDrained,
    SendFailed,
    SendGuarded,
    SendImpeded,
    SendPlanned,
    SendRecovered,
    SuppressionsChanged,
    UnsubscribeRequested,
)

CONSUMER = "campaigns"


def subscribe(
    bus: EventBus,
    following_sends: FollowingSends,
    following_suppressions: FollowingSuppressions,
    erasing: Erasing,
    unsubscribing: Unsubscribing,
) -> None:
    """Have each event handled by its use case."""
    bus.subscribe(SendPlanned, following_sends.on_send_planned, consumer=CONSUMER)
    bus.subscribe(SendImpeded, following_sends.on_send_impeded, consumer=CONSUMER)
    bus.subscribe(SendRecovered, following_sends.on_send_recovered, consumer=CONSUMER)
    bus.subscribe(SendGuarded, following_sends.on_send_guarded, consumer=CONSUMER)
    bus.subscribe(SendFailed, following_sends.on_send_failed, consumer=CONSUMER)
    bus.subscribe(SendDrained, following_sends.on_send_drained, consumer=CONSUMER)
    bus.subscribe(DeliveriesRecorded, following_sends.on_deliveries_recorded, consumer=CONSUMER)
    bus.subscribe(EngagementsRecorded, following_sends.on_engagements_recorded, consumer=CONSUMER)
    bus.subscribe(ContactSuppressed, following_sends.on_contact_suppressed, consumer=CONSUMER)
    bus.subscribe(ErasedByMailer, erasing.on_erased_by_mailer, consumer=CONSUMER)
    bus.subscribe(ErasedByAnalytics, erasing.on_erased_by_analytics, consumer=CONSUMER)
    bus.subscribe(SuppressionsChanged, following_suppressions.on_suppressions_changed, consumer=CONSUMER)
    bus.subscribe(UnsubscribeRequested, unsubscribing.on_unsubscribe_requested, consumer=CONSUMER)
