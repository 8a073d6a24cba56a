"""Test sends: a campaign as its recipients will get it, to a few addresses."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from posthorn_campaigns.app.ports import NewUnitOfWork
from posthorn_campaigns.app.ports_campaigns import Mailer, TemplateEngine
from posthorn_campaigns.domain.campaigns import Campaign
from posthorn_campaigns.domain.errors import NoSuchReference, TemplateNotFound
from posthorn_campaigns.domain.templates import RenderedMessage, TemplateSource, sample_contact
from posthorn_common.clock import new_id
from posthorn_contracts.mailer.internal_v1 import TransactionalMessage


class SendingTests:
    """The use case of test sends."""

    def __init__(
        self, *, new_unit_of_work: NewUnitOfWork, engine: TemplateEngine, mailer: Mailer, public_base: str
    ) -> None:
        self._new_unit_of_work = new_unit_of_work
        self._engine = engine
        self._mailer = mailer
        # A test must not unsubscribe anybody.
        self._unsubscribe_url = f"{public_base}/u/preview"

    async def send(
        self, organisation_id: UUID, campaign_id: UUID, to: Sequence[str], contact_id: UUID | None
    ) -> RenderedMessage:
        """Render the campaign for a contact or a sample and hand it to the mailer for each address.

        Raises CampaignNotFound, ContactNotFound, NoSuchReference, TemplateInvalid, MessageRefused, TransientError.
        """
        async with self._new_unit_of_work() as uow:
            campaign = await uow.campaigns.get(organisation_id, campaign_id)
            try:
                template = await uow.templates.get(organisation_id, campaign.template_id)
            except TemplateNotFound as error:
                raise NoSuchReference("template_id") from error
            contact: Mapping[str, Any] = sample_contact()
            if contact_id is not None:
                contact = (await uow.contacts.get(organisation_id, contact_id)).as_template_fields()
        message = await asyncio.to_thread(self._render, campaign, template.source, contact)
        key = new_id()
        for number, address in enumerate(to):
            await self._mailer.send(_transactional(campaign, message, address, f"test-send-{key}-{number}"))
        return message

    def _render(self, campaign: Campaign, source: TemplateSource, contact: Mapping[str, Any]) -> RenderedMessage:
        content = self._engine.prepare(source, track_opens=False, track_clicks=False)
        return self._engine.render(content, contact, unsubscribe_url=self._unsubscribe_url, campaign_name=campaign.name)


def _transactional(campaign: Campaign, message: RenderedMessage, to: str, key: str) -> TransactionalMessage:
    return TransactionalMessage(
        organisation_id=campaign.organisation_id,
        idempotency_key=key,
        purpose="test_send",
        to_email=to,
        from_name=campaign.from_name,
        from_email=campaign.from_email,
        reply_to=campaign.reply_to,
        subject=message.subject,
        html=message.html,
        text=message.text,
        relay_id=campaign.relay_id,
    )
