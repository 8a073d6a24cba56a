"""Recipients leave, by the link in a message. The signed token is all they need to show."""

from __future__ import annotations

from typing import Literal
from uuid import UUID

from posthorn_campaigns.app.coming_back import tell_resubscribed
from posthorn_campaigns.app.ports import NewUnitOfWork, UnitOfWork
from posthorn_campaigns.domain.activities import ActivityKind, NotedActivity
from posthorn_campaigns.domain.audience import ContactStatus
from posthorn_common.clock import Clock
from posthorn_common.events import event
from posthorn_contracts.campaigns.v1 import (
    ContactUnsubscribed,
    ContactUnsubscribedData,
)
from posthorn_contracts.mailer.v1 import UnsubscribeRequested
from posthorn_contracts.recipient_tokens import RecipientToken

Method = Literal["page", "one_click", "mail"]


class Unsubscribing:
    """The use cases of recipients. Those that take a token raise InvalidRecipientToken. All may be repeated."""

    def __init__(self, *, new_unit_of_work: NewUnitOfWork, clock: Clock, link_secret: bytes) -> None:
        self._new_unit_of_work = new_unit_of_work
        self._clock = clock
        self._link_secret = link_secret

    def check(self, token: str) -> None:
        """Raise unless the token is ours."""
        self._recipient(token)

    async def unsubscribe(self, token: str, method: Method) -> None:
        """Mail the recipient nothing any more. Who has been erased meanwhile is not mailed anyway."""
        recipient = self._recipient(token)
        async with self._new_unit_of_work() as uow:
            await self._unsubscribe(uow, None, recipient, method)

    async def on_unsubscribe_requested(self, told: UnsubscribeRequested) -> None:
        """Do the same for a recipient whose mail has reached the mailer, which has checked the token in it."""
        recipient = RecipientToken(told.data.campaign_id, told.data.contact_id)
        async with self._new_unit_of_work() as uow:
            if await uow.first_time(told):
                await self._unsubscribe(uow, told.organisation_id, recipient, "mail")

    async def resubscribe(self, token: str) -> None:
        """Take back an unsubscription."""
        contact_id: UUID = self._recipient(token).contact_id
        async with self._new_unit_of_work() as uow:
            organisation_id = await uow.contacts.set_status(None, contact_id, ContactStatus.ACTIVE, self._clock.now())
            if organisation_id is not None:
                await tell_resubscribed(uow, organisation_id, [contact_id], self._clock)

    async def _unsubscribe(
        self, uow: UnitOfWork, organisation_id: UUID | None, recipient: RecipientToken, method: Method
    ) -> None:
        contact_id, now = recipient.contact_id, self._clock.now()
        changed = await uow.contacts.set_status(organisation_id, contact_id, ContactStatus.UNSUBSCRIBED, now)
        if changed is None:
            return
        noted = NotedActivity(contact_id, ActivityKind.UNSUBSCRIBED_FROM_ALL, now)
        await uow.activities.note(changed, recipient.campaign_id, [noted])
        data = ContactUnsubscribedData(contact_id=contact_id, campaign_id=recipient.campaign_id, method=method)
        await uow.publish(event(ContactUnsubscribed, contact_id, changed, data, self._clock))

    def _recipient(self, token: str) -> RecipientToken:
        return RecipientToken.verify(token, self._link_secret)
