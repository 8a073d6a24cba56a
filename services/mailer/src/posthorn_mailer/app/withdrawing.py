"""Contacts who leave a list get nothing more of campaigns that reached them by that list only."""

from __future__ import annotations

import structlog

from posthorn_contracts.campaigns.v1 import ContactUnsubscribed
from posthorn_mailer.app.ports_sends import NewSendingUnitOfWork

log = structlog.get_logger(__name__)


class WithdrawingRecipients:
    """The use case of leaving a list. Which campaigns it concerns is for the campaigns service to say."""

    def __init__(self, *, new_unit_of_work: NewSendingUnitOfWork) -> None:
        self._new_unit_of_work = new_unit_of_work

    async def on_contact_unsubscribed(self, event: ContactUnsubscribed) -> None:
        """Mark the contact's deliveries: whoever opens one next suppresses it. Idempotent by the event's id.

        A message that is on its way right now is finished; should it fail, it is not tried again. A send that is not
        known yet is planned later, from an audience without the contact.
        """
        if not event.data.withdrawn_from:
            return
        async with self._new_unit_of_work() as uow:
            if not await uow.first_time("withdraw_recipient", event.id):
                return
            count = await uow.withdrawals.withdraw(
                event.organisation_id, event.data.contact_id, event.data.withdrawn_from
            )
        log.info("recipient_withdrawn", contact_id=str(event.data.contact_id), deliveries=count)
