"""Campaigns: write, change, look at, copy, delete."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

from posthorn_campaigns.app.ports import NewUnitOfWork, UnitOfWork
from posthorn_campaigns.domain.campaigns import Campaign, CampaignStatus, OnAmbiguous
from posthorn_campaigns.domain.errors import NoSuchReference, StaleCampaign, TemplateNotFound
from posthorn_common.auditing import concerns
from posthorn_common.clock import Clock, new_id


@dataclass(frozen=True, slots=True)
class CampaignFilter:
    """Which campaigns to list: `search` is a part of the name."""

    status: CampaignStatus | None = None
    search: str | None = None


@dataclass(frozen=True, slots=True)
class CampaignFields:
    """What somebody writes of a campaign."""

    name: str
    template_id: UUID
    list_ids: tuple[UUID, ...]
    segment_ids: tuple[UUID, ...]
    exclude_list_ids: tuple[UUID, ...]
    exclude_segment_ids: tuple[UUID, ...]
    from_name: str
    from_email: str
    reply_to: str | None
    relay_id: UUID | None
    messages_per_second: float | None
    track_opens: bool
    track_clicks: bool
    on_ambiguous: OnAmbiguous | None


class ManagingCampaigns:
    """The use cases of campaigns that are being written or looked at."""

    def __init__(self, *, new_unit_of_work: NewUnitOfWork, clock: Clock) -> None:
        self._new_unit_of_work = new_unit_of_work
        self._clock = clock

    async def add(self, organisation_id: UUID, fields: CampaignFields) -> Campaign:
        """Store a draft. Raises NoSuchReference, NoAudience."""
        now = self._clock.now()
        campaign = Campaign(
            id=new_id(),
            organisation_id=organisation_id,
            name=fields.name,
            status=CampaignStatus.DRAFT,
            version=1,
            template_id=fields.template_id,
            list_ids=fields.list_ids,
            segment_ids=fields.segment_ids,
            exclude_list_ids=fields.exclude_list_ids,
            exclude_segment_ids=fields.exclude_segment_ids,
            from_name=fields.from_name,
            from_email=fields.from_email,
            reply_to=fields.reply_to,
            relay_id=fields.relay_id,
            messages_per_second=fields.messages_per_second,
            track_opens=fields.track_opens,
            track_clicks=fields.track_clicks,
            on_ambiguous=fields.on_ambiguous,
            created_at=now,
            updated_at=now,
        )
        async with self._new_unit_of_work() as uow:
            await check_references(uow, campaign)
            concerns("campaign", campaign.id)
            await uow.campaigns.add(campaign)
        return campaign

    async def get(self, organisation_id: UUID, campaign_id: UUID) -> Campaign:
        """Raises CampaignNotFound."""
        async with self._new_unit_of_work() as uow:
            return await uow.campaigns.get(organisation_id, campaign_id)

    async def list_campaigns(
        self, organisation_id: UUID, wanted: CampaignFilter, after: UUID | None, limit: int
    ) -> list[Campaign]:
        """Return campaigns, newest first, after `after`."""
        async with self._new_unit_of_work() as uow:
            return await uow.campaigns.page(
                organisation_id, status=wanted.status, search=wanted.search, after=after, limit=limit
            )

    async def change(
        self, organisation_id: UUID, campaign_id: UUID, changes: Mapping[str, Any], version: int | None
    ) -> Campaign:
        """Change fields of a campaign that has not started; with `version`, only if it is still the newest.

        Raises CampaignNotFound, CampaignNotEditable, StaleCampaign, NoSuchReference, NoAudience.
        """
        async with self._new_unit_of_work() as uow:
            campaign = await uow.campaigns.get(organisation_id, campaign_id, lock=True)
            if version is not None and version != campaign.version:
                raise StaleCampaign
            campaign.check_editable()
            changed = replace(campaign, **changes)
            await check_references(uow, changed)
            return await uow.campaigns.save(changed, self._clock.now())

    async def delete(self, organisation_id: UUID, campaign_id: UUID) -> None:
        """Delete a campaign that is not running. Raises CampaignNotFound, CampaignRunning."""
        async with self._new_unit_of_work() as uow:
            campaign = await uow.campaigns.get(organisation_id, campaign_id, lock=True)
            campaign.check_deletable()
            await uow.campaigns.delete(campaign)

    async def duplicate(self, organisation_id: UUID, campaign_id: UUID) -> Campaign:
        """Return a new draft with the same content. Raises CampaignNotFound."""
        async with self._new_unit_of_work() as uow:
            campaign = await uow.campaigns.get(organisation_id, campaign_id)
            copy = campaign.duplicate(new_id(), self._clock.now())
            concerns("campaign", copy.id)
            await uow.campaigns.add(copy)
        return copy


async def check_references(uow: UnitOfWork, campaign: Campaign) -> None:
    """Raise NoSuchReference unless all that it names exists in its organisation, and NoAudience if that is nobody."""
    campaign.check_audience()
    try:
        await uow.templates.get(campaign.organisation_id, campaign.template_id)
    except TemplateNotFound as error:
        raise NoSuchReference("template_id") from error
    for field, ids in (("list_ids", campaign.list_ids), ("exclude_list_ids", campaign.exclude_list_ids)):
        if await uow.lists.missing(campaign.organisation_id, ids):
            raise NoSuchReference(field)
    for field, ids in (("segment_ids", campaign.segment_ids), ("exclude_segment_ids", campaign.exclude_segment_ids)):
        if await uow.segments.missing(campaign.organisation_id, ids):
            raise NoSuchReference(field)
