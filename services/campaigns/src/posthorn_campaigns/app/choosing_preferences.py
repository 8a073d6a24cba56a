"""Recipients choose what they get, by the link in a message. The signed token is all they need to show."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from uuid import UUID

from posthorn_campaigns.app.coming_back import tell_resubscribed
from posthorn_campaigns.app.leaving_lists import tell_left
from posthorn_campaigns.app.ports import NewUnitOfWork
from posthorn_campaigns.app.ports_opt_in import OfferedList
from posthorn_campaigns.domain.audience import ContactStatus
from posthorn_campaigns.domain.rules import SubscriptionStatus
from posthorn_common.clock import Clock
from posthorn_contracts.recipient_tokens import RecipientToken


@dataclass(frozen=True, slots=True)
class Preferences:
    """What a recipient can choose, and has chosen."""

    lists: tuple[OfferedList, ...] = ()
    locale: str | None = None
    wants_mail: bool = False


class ChoosingPreferences:
    """The use cases of the preference page. Both raise InvalidRecipientToken, and may be repeated."""

    def __init__(self, *, new_unit_of_work: NewUnitOfWork, clock: Clock, link_secret: bytes) -> None:
        self._new_unit_of_work = new_unit_of_work
        self._clock = clock
        self._link_secret = link_secret

    async def show(self, token: str) -> Preferences:
        """Return what there is to choose; nothing for somebody who has been erased meanwhile."""
        contact_id = RecipientToken.verify(token, self._link_secret).contact_id
        async with self._new_unit_of_work() as uow:
            contact = await uow.subscriptions.recipient(contact_id)
            if contact is None:
                return Preferences()
            offered = await uow.subscriptions.offered(contact)
        return Preferences(tuple(offered), contact.locale, contact.status is ContactStatus.ACTIVE)

    async def save(self, token: str, wanted: Collection[UUID], locale: str | None, remote_address: str) -> None:
        """Put the recipient on the lists that are wanted and take it off all others that were offered.

        Whoever wants a list wants mail again, and has confirmed it: the link was in the own mailbox.
        """
        recipient = RecipientToken.verify(token, self._link_secret)
        async with self._new_unit_of_work() as uow:
            contact = await uow.subscriptions.recipient(recipient.contact_id)
            if contact is None:
                return
            left: list[UUID] = []
            joined: list[UUID] = []
            for offered in await uow.subscriptions.offered(contact):
                is_on = offered.status is SubscriptionStatus.SUBSCRIBED
                if is_on is (offered.id in wanted):
                    continue
                (left if is_on else joined).append(offered.id)
                await uow.subscriptions.set_status(
                    contact.organisation_id,
                    offered.id,
                    contact.id,
                    SubscriptionStatus.UNSUBSCRIBED if is_on else SubscriptionStatus.SUBSCRIBED,
                    method="page",
                    remote_address=remote_address,
                )
            now = self._clock.now()
            if locale != contact.locale:
                await uow.contacts.save(replace(contact, locale=locale, updated_at=now))
            if left:
                await tell_left(
                    uow,
                    self._clock,
                    contact.organisation_id,
                    contact.id,
                    left,
                    method="page",
                    campaign_id=recipient.campaign_id,
                )
            if wanted and await uow.contacts.set_status(contact.organisation_id, contact.id, ContactStatus.ACTIVE, now):
                await tell_resubscribed(uow, contact.organisation_id, [contact.id], self._clock)
