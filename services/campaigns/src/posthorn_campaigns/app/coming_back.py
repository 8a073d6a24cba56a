"""Contacts who want mail again, whichever way that came about."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from posthorn_campaigns.app.ports import UnitOfWork
from posthorn_campaigns.domain.activities import ActivityKind, NotedActivity
from posthorn_common.clock import Clock
from posthorn_common.events import event
from posthorn_contracts.campaigns.v1 import ContactRef, ContactResubscribed


async def tell_resubscribed(uow: UnitOfWork, organisation_id: UUID, contact_ids: Sequence[UUID], clock: Clock) -> None:
    """Note in their timelines that contacts of one organisation are active again, and tell the other services."""
    now = clock.now()
    noted = [NotedActivity(contact_id, ActivityKind.RESUBSCRIBED, now) for contact_id in contact_ids]
    await uow.activities.note(organisation_id, None, noted)
    for contact_id in contact_ids:
        data = ContactRef(contact_id=contact_id)
        await uow.publish(event(ContactResubscribed, contact_id, organisation_id, data, clock))
