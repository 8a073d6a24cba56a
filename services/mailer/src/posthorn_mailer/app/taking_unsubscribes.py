"""Recipients unsubscribe by mail, with the token that is in their message's header."""

from __future__ import annotations

from uuid import UUID

import structlog

from posthorn_common.clock import Clock
from posthorn_common.events import event
from posthorn_contracts.mailer.v1 import UnsubscribeRequested, UnsubscribeRequestedData
from posthorn_contracts.recipient_tokens import InvalidRecipientToken, RecipientToken
from posthorn_mailer.app.metrics import FEEDBACK
from posthorn_mailer.app.ports_sends import NewSendingUnitOfWork
from posthorn_mailer.app.taking_feedback import FeedbackResult, Taken
from posthorn_mailer.domain.errors import DeliveryNotFound, SendNotFound

log = structlog.get_logger(__name__)

_TYPE = "unsubscribe"


class TakingUnsubscribes:
    """The use case of unsubscribing by mail."""

    def __init__(self, *, new_unit_of_work: NewSendingUnitOfWork, clock: Clock, link_secret: bytes) -> None:
        self._new_unit_of_work = new_unit_of_work
        self._clock = clock
        self._link_secret = link_secret

    async def take(self, organisation_id: UUID, token: str) -> Taken:
        """Have campaigns unsubscribe the recipient from everything, as by the link (RFC 8058).

        A token that is not ours, or of another organisation's campaign, changes nothing. Telling twice is fine.
        """
        taken = await self._take(organisation_id, token)
        FEEDBACK.labels(_TYPE, taken.result).inc()
        return taken

    async def _take(self, organisation_id: UUID, token: str) -> Taken:
        try:
            recipient = RecipientToken.verify(token, self._link_secret)
        except InvalidRecipientToken:
            return Taken(FeedbackResult.UNKNOWN)
        contact_id, campaign_id = recipient.contact_id, recipient.campaign_id
        try:
            async with self._new_unit_of_work() as uow:
                await uow.sends.get(organisation_id, campaign_id)
                await uow.deliveries.get(organisation_id, campaign_id, contact_id)
                data = UnsubscribeRequestedData(contact_id=contact_id, campaign_id=campaign_id)
                await uow.publish(event(UnsubscribeRequested, contact_id, organisation_id, data, self._clock))
        except (SendNotFound, DeliveryNotFound):
            return Taken(FeedbackResult.UNKNOWN)
        log.info("unsubscribed_by_mail", send_id=str(campaign_id), contact_id=str(contact_id))
        return Taken(FeedbackResult.RECORDED, campaign_id, contact_id)
