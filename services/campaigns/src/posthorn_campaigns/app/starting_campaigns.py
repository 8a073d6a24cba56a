"""The scheduler's work: campaigns that are due start, each exactly once, whatever the number of schedulers."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID

import structlog

from posthorn_campaigns.app.ports import NewUnitOfWork, UnitOfWork
from posthorn_campaigns.app.ports_campaigns import TemplateEngine
from posthorn_campaigns.app.resolving_rules import audience_of, pinned_rules
from posthorn_campaigns.domain.audience import Contact
from posthorn_campaigns.domain.campaigns import Campaign
from posthorn_campaigns.domain.errors import Invalid, NotFound, TemplateInvalid, TemplateNotFound
from posthorn_campaigns.domain.segments import PinnedRules
from posthorn_campaigns.domain.templates import MessageContent, StoredTemplate
from posthorn_common.auditing import audited, begin, by_system
from posthorn_common.clock import Clock
from posthorn_common.events import event
from posthorn_common.transient import is_transient
from posthorn_contracts.campaigns.v1 import (
    CampaignCompleted,
    CampaignCompletedData,
    CampaignStarted,
    CampaignStartedData,
    TrackedLink,
)

log = structlog.get_logger(__name__)

_SAMPLES = 5
_SAMPLE_URL = "https://example.com/u/sample"


class CannotStart(Exception):
    """The campaign cannot be sent; the message says why, for people."""


class StartingCampaigns:
    """Starts due campaigns."""

    def __init__(
        self, *, new_unit_of_work: NewUnitOfWork, engine: TemplateEngine, clock: Clock, overdue_after: timedelta
    ) -> None:
        self._new_unit_of_work = new_unit_of_work
        self._engine = engine
        self._clock = clock
        self._overdue_after = overdue_after

    async def start_due_campaigns(self) -> int:
        """Start all that are due and that nobody else is starting; return how many were started or have failed.

        A campaign whose start goes wrong because of us stays scheduled, is logged, and holds nobody else up.
        """
        handled = 0
        in_trouble: set[UUID] = set()
        while True:
            claimed: Campaign | None = None
            try:
                with audited(None):
                    async with self._new_unit_of_work() as uow:
                        claimed = await uow.campaigns.claim_due(in_trouble)
                        if claimed is None:
                            return handled
                        begin(by_system("campaigns", "start_campaign", claimed.organisation_id, "campaign", claimed.id))
                        await self._start(uow, claimed)
                handled += 1
            except Exception as error:
                if claimed is None or is_transient(error):
                    raise
                in_trouble.add(claimed.id)
                log.exception("campaign_not_started", campaign_id=str(claimed.id))

    async def _start(self, uow: UnitOfWork, campaign: Campaign) -> None:
        now = await uow.campaigns.now()
        try:
            rules = await self._rules(uow, campaign)
            template, content = await self._content(uow, campaign, rules, now)
        except CannotStart as reason:
            saved = await uow.campaigns.save(campaign.fail(str(reason), now), now)
            failed = CampaignCompletedData(campaign_id=saved.id, status="failed")
            await uow.publish(event(CampaignCompleted, saved.id, saved.organisation_id, failed, self._clock))
            log.info("campaign_failed", campaign_id=str(saved.id))
            return
        saved = await uow.campaigns.save(campaign.start(template.version_id, rules, now), now)
        await uow.campaigns.pin(saved, content)
        data = CampaignStartedData(
            campaign_id=saved.id,
            name=saved.name,
            template_version_id=template.version_id,
            relay_id=saved.relay_id,
            messages_per_second=saved.messages_per_second,
            track_opens=saved.track_opens,
            track_clicks=saved.track_clicks,
            on_ambiguous=None if saved.on_ambiguous is None else saved.on_ambiguous.value,
            links=tuple(TrackedLink(number=link.number, url=link.url) for link in content.links),
        )
        await uow.publish(event(CampaignStarted, saved.id, saved.organisation_id, data, self._clock))
        log.info("campaign_started", campaign_id=str(saved.id), links=len(content.links))

    async def _rules(self, uow: UnitOfWork, campaign: Campaign) -> PinnedRules:
        try:
            return await pinned_rules(uow, campaign)
        except (NotFound, Invalid) as error:
            raise CannotStart(f"One of its segments cannot be used: {error}") from error

    async def _content(
        self, uow: UnitOfWork, campaign: Campaign, rules: PinnedRules, now: datetime
    ) -> tuple[StoredTemplate, MessageContent]:
        self._check_not_overdue(campaign, now)
        missing = await uow.lists.missing(campaign.organisation_id, campaign.list_ids)
        if campaign.list_ids and set(missing) == set(campaign.list_ids):
            raise CannotStart("None of its lists exist any more.")
        try:
            template = await uow.templates.get(campaign.organisation_id, campaign.template_id)
        except TemplateNotFound as error:
            raise CannotStart("Its template does not exist any more.") from error
        samples = await uow.audiences.page(audience_of(campaign, rules, now), None, _SAMPLES)
        # Some milliseconds of computing; the lock on the campaign keeps other schedulers from doing the same.
        return template, await asyncio.to_thread(self._prepare, campaign, template, samples)

    def _check_not_overdue(self, campaign: Campaign, now: datetime) -> None:
        due = campaign.scheduled_at
        if due is not None and now - due > self._overdue_after:
            raise CannotStart(
                f"It was due at {due:%Y-%m-%d %H:%M} UTC, but nothing could be started for longer than "
                f"{self._overdue_after.total_seconds() / 3600:g} hours. Duplicate it to send it now."
            )

    def _prepare(self, campaign: Campaign, template: StoredTemplate, samples: Sequence[Contact]) -> MessageContent:
        """Return the content to pin, once it has been rendered for one of the samples, if there are any."""
        try:
            self._engine.check(template.source)
            content = self._engine.prepare(
                template.source, track_opens=campaign.track_opens, track_clicks=campaign.track_clicks
            )
            for position, contact in enumerate(samples, start=1):
                if self._renders(campaign, content, contact, is_last=position == len(samples)):
                    break
        except TemplateInvalid as error:
            raise CannotStart(f"The template cannot be sent: {error}") from error
        return content

    def _renders(self, campaign: Campaign, content: MessageContent, contact: Contact, *, is_last: bool) -> bool:
        try:
            self._engine.render(
                content, contact.as_template_fields(), unsubscribe_url=_SAMPLE_URL, campaign_name=campaign.name
            )
        except TemplateInvalid:
            if is_last:
                raise
            return False
        return True
