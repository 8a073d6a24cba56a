"""Campaigns in PostgreSQL; see the port of the same name."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import asdict, replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from posthorn_campaigns.adapters.db.tables import campaign_contents, campaigns, subscriptions
from posthorn_campaigns.domain.campaigns import Campaign, CampaignStatus, Counts, OnAmbiguous
from posthorn_campaigns.domain.errors import CampaignNotFound, StaleCampaign
from posthorn_campaigns.domain.rules import SubscriptionStatus
from posthorn_campaigns.domain.segments import PinnedRules
from posthorn_campaigns.domain.templates import Link, MessageContent

_ID_LISTS = ("list_ids", "segment_ids", "exclude_list_ids", "exclude_segment_ids")
_COUNTS = ("audience", "sent", "bounced", "failed", "suppressed", "cancelled", "ambiguous")
_PLAIN = (
    "name", "status", "template_id", "from_name", "from_email", "reply_to", "relay_id", "track_opens", "track_clicks",
    "messages_per_second", "template_version_id", "scheduled_at", "started_at", "paused_at", "paused_code",
    "paused_reason", "completed_at", "final_counts_at", "failure_reason", "on_ambiguous",
)  # fmt: skip
_RUNNING = (CampaignStatus.SENDING, CampaignStatus.PAUSED)
_ABOUT_TO_START = timedelta(minutes=1)
_TRIED_AGAIN = timedelta(days=90)
_RATED_OVER_SECONDS = 10.0
# exp of something smaller is an underflow to PostgreSQL.
_SLOWEST_DECAY = 100.0


class SqlCampaigns:
    """Stored campaigns."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def add(self, campaign: Campaign) -> None:
        """Store a new campaign."""
        values = {
            **_values(campaign),
            "id": campaign.id,
            "organisation_id": campaign.organisation_id,
            "version": campaign.version,
            "created_at": campaign.created_at,
            "updated_at": campaign.updated_at,
        }
        await self._connection.execute(sa.insert(campaigns).values(values))

    async def get(self, organisation_id: UUID, campaign_id: UUID, *, lock: bool = False) -> Campaign:
        """Return the campaign. Raises CampaignNotFound."""
        query = _SELECT.where(_one(organisation_id, campaign_id))
        return await self._found(query.with_for_update() if lock else query)

    async def find(self, campaign_id: UUID) -> Campaign:
        """Return the campaign, whatever its organisation. Raises CampaignNotFound."""
        return await self._found(_SELECT.where(campaigns.c.id == campaign_id))

    async def page(
        self,
        organisation_id: UUID,
        *,
        status: CampaignStatus | None,
        search: str | None,
        after: UUID | None,
        limit: int,
    ) -> list[Campaign]:
        """Return campaigns by id, newest first."""
        query = _SELECT.where(campaigns.c.organisation_id == organisation_id)
        if status is not None:
            query = query.where(campaigns.c.status == status)
        if search:
            query = query.where(campaigns.c.name.icontains(search, autoescape=True))
        if after is not None:
            query = query.where(campaigns.c.id < after)
        rows = await self._connection.execute(query.order_by(campaigns.c.id.desc()).limit(limit))
        return [_campaign(row) for row in rows]

    async def save(self, campaign: Campaign, now: datetime) -> Campaign:
        """Store everything but live counts and the text of notices. Raises StaleCampaign."""
        version = campaign.version + 1
        values = {**_values(campaign), "version": version, "updated_at": now}
        if campaign.notice is None:
            values["notice"] = None
        change = sa.update(campaigns).where(
            _one(campaign.organisation_id, campaign.id), campaigns.c.version == campaign.version
        )
        if (await self._connection.execute(change.values(values))).rowcount != 1:
            raise StaleCampaign
        return replace(campaign, version=version, updated_at=now)

    async def delete(self, campaign: Campaign) -> None:
        """Delete the campaign with its content. Raises StaleCampaign."""
        deletion = sa.delete(campaigns).where(
            _one(campaign.organisation_id, campaign.id), campaigns.c.version == campaign.version
        )
        if (await self._connection.execute(deletion)).rowcount != 1:
            raise StaleCampaign

    async def claim_due(self, besides: Collection[UUID]) -> Campaign | None:
        """Return the scheduled campaign that is due longest, locked; skips those that others have claimed."""
        query = (
            _SELECT.where(
                campaigns.c.status == CampaignStatus.SCHEDULED,
                campaigns.c.scheduled_at <= sa.func.clock_timestamp(),
                campaigns.c.id.not_in(besides),
            )
            .order_by(campaigns.c.scheduled_at, campaigns.c.id)
            .limit(1)
            .with_for_update(skip_locked=True)
        )
        row = (await self._connection.execute(query)).one_or_none()
        return None if row is None else _campaign(row)

    async def now(self) -> datetime:
        """Return the database's time."""
        now: datetime = (await self._connection.execute(sa.select(sa.func.clock_timestamp()))).scalar_one()
        return now

    async def is_scheduled_with(self, template_id: UUID) -> bool:
        """Whether a scheduled campaign uses the template."""
        query = sa.select(
            sa.exists().where(campaigns.c.template_id == template_id, campaigns.c.status == CampaignStatus.SCHEDULED)
        )
        return bool(await self._connection.scalar(query))

    async def withdrawn_from(
        self, organisation_id: UUID, contact_id: UUID, left_list_ids: Collection[UUID]
    ) -> list[UUID]:
        """Return campaigns that reach a contact by none of their lists any more."""
        is_on_another = (
            sa.select(sa.literal(1))
            .where(
                subscriptions.c.contact_id == contact_id,
                subscriptions.c.list_id == sa.any_(campaigns.c.list_ids),
                subscriptions.c.status == SubscriptionStatus.SUBSCRIBED,
            )
            .correlate(campaigns)
            .exists()
        )
        query = sa.select(campaigns.c.id).where(
            campaigns.c.organisation_id == organisation_id,
            campaigns.c.list_ids.bool_op("&&")(sa.literal(list(left_list_ids), sa.ARRAY(sa.Uuid))),
            _may_write(),
            ~is_on_another,
        )
        return list(await self._connection.scalars(query.order_by(campaigns.c.id)))

    async def set_audience(self, organisation_id: UUID, campaign_id: UUID, audience: int) -> None:
        """Store the size of the audience."""
        change = sa.update(campaigns).where(_one(organisation_id, campaign_id)).values(audience=audience)
        await self._connection.execute(change)

    async def add_to_counts(self, organisation_id: UUID, campaign_id: UUID, changes: Mapping[str, int]) -> None:
        """Move live counts."""
        values = {name: campaigns.c[name] + change for name, change in changes.items()}
        rate = _rate_now() + max(sum(changes.values()), 0) / _RATED_OVER_SECONDS
        change = sa.update(campaigns).where(_one(organisation_id, campaign_id))
        await self._connection.execute(change.values(**values, rate=rate, rated_at=sa.func.clock_timestamp()))

    async def set_notice(self, organisation_id: UUID, campaign_id: UUID, notice: str | None, told_at: datetime) -> None:
        """Set or clear the notice of a campaign that is not over, unless something later was told already."""
        change = (
            sa.update(campaigns)
            .where(
                _one(organisation_id, campaign_id),
                campaigns.c.status.in_(_RUNNING),
                sa.or_(campaigns.c.notice_at.is_(None), campaigns.c.notice_at < told_at),
            )
            .values(notice=notice, notice_at=told_at)
        )
        await self._connection.execute(change)

    async def pin(self, campaign: Campaign, content: MessageContent) -> None:
        """Store what the campaign sends."""
        values = {
            "campaign_id": campaign.id,
            "subject": content.subject,
            "html": content.html,
            "text": content.text,
            "links": [asdict(link) for link in content.links],
            "fields": list(content.fields),
        }
        await self._connection.execute(sa.insert(campaign_contents).values(values))

    async def content(self, campaign_id: UUID) -> MessageContent:
        """Return what the campaign sends. Raises CampaignNotFound."""
        query = sa.select(campaign_contents).where(campaign_contents.c.campaign_id == campaign_id)
        row = (await self._connection.execute(query)).one_or_none()
        if row is None:
            raise CampaignNotFound
        return MessageContent(
            subject=row.subject,
            html=row.html,
            text=row.text,
            links=tuple(Link(**link) for link in row.links),
            fields=tuple(row.fields),
        )

    async def _found(self, query: sa.Select[Any]) -> Campaign:
        row = (await self._connection.execute(query)).one_or_none()
        if row is None:
            raise CampaignNotFound
        return _campaign(row)


def _rate_now() -> sa.ColumnElement[float]:
    """Return outcomes per second, in which those told long ago count less and less: by e in each ten seconds."""
    age = sa.extract("epoch", sa.func.clock_timestamp() - campaigns.c.rated_at)
    decay = sa.func.least(sa.func.greatest(age / _RATED_OVER_SECONDS, 0), _SLOWEST_DECAY)
    return sa.func.coalesce(campaigns.c.rate * sa.func.exp(-decay), 0.0)


_SELECT = sa.select(campaigns, _rate_now().label("rate_now"))


def _may_write() -> sa.ColumnElement[bool]:
    """Whether a campaign writes to somebody, may do so again, or is about to start while we look."""
    now = sa.func.now()
    return sa.or_(
        campaigns.c.status.in_(_RUNNING),
        sa.and_(campaigns.c.status == CampaignStatus.SCHEDULED, campaigns.c.scheduled_at <= now + _ABOUT_TO_START),
        # What failed or is in doubt may be tried again.
        sa.and_(
            campaigns.c.status == CampaignStatus.COMPLETED_WITH_ERRORS, campaigns.c.completed_at > now - _TRIED_AGAIN
        ),
    )


def _one(organisation_id: UUID, campaign_id: UUID) -> sa.ColumnElement[bool]:
    return sa.and_(campaigns.c.organisation_id == organisation_id, campaigns.c.id == campaign_id)


def _values(campaign: Campaign) -> dict[str, Any]:
    return {
        **{name: getattr(campaign, name) for name in _PLAIN},
        **{name: list(getattr(campaign, name)) for name in _ID_LISTS},
        "pinned_rules": None if campaign.pinned_rules is None else asdict(campaign.pinned_rules),
        "final_counts": None if campaign.final_counts is None else asdict(campaign.final_counts),
    }


def _pinned(stored: Mapping[str, Any]) -> PinnedRules:
    return PinnedRules(stored["types"], tuple(stored["include"]), tuple(stored["exclude"]))


def _campaign(row: sa.Row[Any]) -> Campaign:
    ids: dict[str, Any] = {name: tuple(getattr(row, name)) for name in _ID_LISTS}
    return Campaign(
        **{name: getattr(row, name) for name in _PLAIN if name not in {"status", "on_ambiguous"}},
        id=row.id,
        organisation_id=row.organisation_id,
        status=CampaignStatus(row.status),
        on_ambiguous=None if row.on_ambiguous is None else OnAmbiguous(row.on_ambiguous),
        version=row.version,
        **ids,
        pinned_rules=None if row.pinned_rules is None else _pinned(row.pinned_rules),
        live_counts=Counts(**{name: getattr(row, name) for name in _COUNTS}),
        recent_rate=row.rate_now,
        final_counts=None if row.final_counts is None else Counts(**row.final_counts),
        notice=row.notice,
        created_at=row.created_at,
        updated_at=row.updated_at,
    )
