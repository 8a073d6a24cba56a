"""What other services read of a campaign: that it exists, and once it has started content, audience and links."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

from posthorn_campaigns.app.ports import NewUnitOfWork
from posthorn_campaigns.app.resolving_rules import audience_of
from posthorn_campaigns.domain.campaigns import Campaign
from posthorn_campaigns.domain.errors import CampaignNotFound
from posthorn_campaigns.domain.templates import MergeFields, MessageContent
from posthorn_contracts.campaigns.internal_v1 import (
    CampaignContent,
    CampaignLinks,
    CampaignSummary,
)
from posthorn_contracts.campaigns.v1 import TrackedLink


@dataclass(frozen=True, slots=True)
class AudienceSlice:
    """A page of an audience, without the price of checked models: id, address and merge fields of each contact."""

    members: Sequence[tuple[UUID, str, dict[str, Any]]]
    next_cursor: str | None


class ServingContent:
    """The queries of mailer and analytics. All but `summary` raise CampaignNotFound until the campaign has started."""

    def __init__(self, *, new_unit_of_work: NewUnitOfWork, public_base: str) -> None:
        self._new_unit_of_work = new_unit_of_work
        self._host = urlsplit(public_base).hostname or "localhost"

    async def summary(self, campaign_id: UUID) -> CampaignSummary:
        """Return whose campaign it is. Raises CampaignNotFound."""
        async with self._new_unit_of_work() as uow:
            campaign = await uow.campaigns.find(campaign_id)
        return CampaignSummary(
            campaign_id=campaign.id,
            organisation_id=campaign.organisation_id,
            name=campaign.name,
            created_at=campaign.created_at,
        )

    async def content(self, campaign_id: UUID) -> CampaignContent:
        """Return what the campaign sends."""
        campaign, content = await self._started(campaign_id)
        if campaign.template_version_id is None:
            raise CampaignNotFound
        return CampaignContent(
            campaign_id=campaign.id,
            organisation_id=campaign.organisation_id,
            template_version_id=campaign.template_version_id,
            name=campaign.name,
            subject=content.subject,
            html=content.html,
            text=content.text,
            from_name=campaign.from_name,
            from_email=campaign.from_email,
            reply_to=campaign.reply_to,
            list_id=self._list_id(campaign),
            track_opens=campaign.track_opens,
            track_clicks=campaign.track_clicks,
            links=_tracked(content),
        )

    async def links(self, campaign_id: UUID) -> CampaignLinks:
        """Return the campaign's link table."""
        campaign, content = await self._started(campaign_id)
        return CampaignLinks(
            campaign_id=campaign.id,
            organisation_id=campaign.organisation_id,
            name=campaign.name,
            links=_tracked(content),
        )

    async def audience(self, campaign_id: UUID, after: UUID | None, limit: int) -> AudienceSlice:
        """Return those who are to be mailed, by contact id: lists as they are now, rules as the campaign has started.

        Relative dates in rules refer to the start.
        """
        async with self._new_unit_of_work() as uow:
            campaign = await uow.campaigns.find(campaign_id)
            content = await uow.campaigns.content(campaign_id)
            if campaign.pinned_rules is None or campaign.started_at is None:
                raise CampaignNotFound
            audience = audience_of(campaign, campaign.pinned_rules, campaign.started_at)
            contacts = await uow.audiences.page(audience, after, limit)
        fields = MergeFields(content.fields)
        members = [(contact.id, contact.email, fields.of(contact.as_template_fields())) for contact in contacts]
        return AudienceSlice(members, str(contacts[-1].id) if len(contacts) == limit else None)

    async def _started(self, campaign_id: UUID) -> tuple[Campaign, MessageContent]:
        async with self._new_unit_of_work() as uow:
            return await uow.campaigns.find(campaign_id), await uow.campaigns.content(campaign_id)

    def _list_id(self, campaign: Campaign) -> str:
        # Of the list, so that recipients can filter by it; a mailing to several lists is one of the organisation.
        lists = campaign.list_ids
        label = lists[0] if len(lists) == 1 else campaign.organisation_id
        return f"{label.hex}.{self._host}"


def _tracked(content: MessageContent) -> tuple[TrackedLink, ...]:
    return tuple(TrackedLink(number=link.number, url=link.url) for link in content.links)
