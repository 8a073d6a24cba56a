"""Telling that a contact has left lists, and which campaigns it is to get nothing of any more."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal
from uuid import UUID

from posthorn_campaigns.app.ports import UnitOfWork
from posthorn_common.clock import Clock
from posthorn_common.events import event
from posthorn_contracts.campaigns.v1 import ContactUnsubscribed, ContactUnsubscribedData


async def tell_left(
    uow: UnitOfWork,
    clock: Clock,
    organisation_id: UUID,
    contact_id: UUID,
    left: Sequence[UUID],
    *,
    method: Literal["page", "api"],
    campaign_id: UUID | None = None,
) -> None:
    """Write the event that a contact has left lists in this transaction, after all other changes of them.

    It names the campaigns that are under way and reach the contact by none of their lists any more: the mailer
    withdraws what it has queued. A campaign with lists goes to nobody who is on none of them, whatever its
    segments say.
    """
    withdrawn = await uow.campaigns.withdrawn_from(organisation_id, contact_id, left)
    data = ContactUnsubscribedData(
        contact_id=contact_id,
        list_ids=tuple(left),
        campaign_id=campaign_id,
        method=method,
        withdrawn_from=tuple(withdrawn),
    )
    await uow.publish(event(ContactUnsubscribed, contact_id, organisation_id, data, clock))
