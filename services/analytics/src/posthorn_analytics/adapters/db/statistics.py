"""Reads the rollups, always within one organisation."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from posthorn_analytics.adapters.db.tables import (
    CAMPAIGN_COUNTERS,
    DOMAIN_COUNTERS,
    HOUR_COUNTERS,
    LINK_COUNTERS,
    campaign_domains,
    campaign_hours,
    campaign_links,
    campaigns,
    engagements,
)
from posthorn_analytics.app.queries import (
    CampaignStatistics,
    DomainStatistics,
    EngagementFilter,
    EngagementRecord,
    Interval,
    LinkStatistics,
    TimePoint,
)
from posthorn_analytics.domain.campaigns import CampaignStatus
from posthorn_analytics.domain.errors import CampaignNotFound
from posthorn_analytics.domain.progress import CampaignState
from posthorn_analytics.domain.recipients import HitKind
from posthorn_analytics.domain.tallies import OUTCOMES
from posthorn_common.errors import TransientError
from posthorn_common.transient import is_transient

_STATE_COUNTERS = (*OUTCOMES, "unique_opens", "unique_clicks")


class SqlStatistics:
    """See the port Statistics."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def campaign(self, organisation_id: UUID, campaign_id: UUID) -> CampaignStatistics:
        """Return a campaign's numbers. Raises CampaignNotFound."""
        rows = await self._rows(sa.select(campaigns).where(_is(campaigns, organisation_id, campaign_id)))
        if not rows:
            raise CampaignNotFound
        return _campaign(rows[0])

    async def campaigns(self, organisation_id: UUID, after: UUID | None, limit: int) -> list[CampaignStatistics]:
        """Return campaigns, the newest first."""
        query = sa.select(campaigns).where(campaigns.c.organisation_id == organisation_id)
        if after is not None:
            query = query.where(campaigns.c.campaign_id < after)
        query = query.order_by(campaigns.c.campaign_id.desc()).limit(limit)
        return [_campaign(row) for row in await self._rows(query)]

    async def totals(self, organisation_id: UUID, since: datetime) -> Mapping[str, int]:
        """Return what has happened since then, by whole hours."""
        sums: list[sa.ColumnElement[Any]] = [_sum(campaign_hours, name) for name in HOUR_COUNTERS]
        table = campaign_hours.c
        query: sa.Select[Any] = sa.select(*sums).where(table.organisation_id == organisation_id, table.hour >= since)
        return _counts((await self._rows(query))[0], HOUR_COUNTERS)

    async def state(self, organisation_id: UUID, campaign_id: UUID) -> CampaignState:
        """Return what event streams tell. Raises CampaignNotFound."""
        names = ("status", "status_at", "started_at", "audience", "notice", *_STATE_COUNTERS)
        columns: list[sa.ColumnElement[Any]] = [campaigns.c[name] for name in names]
        query: sa.Select[Any] = sa.select(*columns)
        rows = await self._rows(query.where(_is(campaigns, organisation_id, campaign_id)))
        if not rows:
            raise CampaignNotFound
        row = rows[0]
        return CampaignState(
            status=_status(row),
            status_at=row.status_at,
            started=row.started_at is not None,
            audience=row.audience,
            counts=_counts(row, _STATE_COUNTERS),
            notice=row.notice,
        )

    async def links(
        self, organisation_id: UUID, campaign_id: UUID, after: int | None, limit: int
    ) -> list[LinkStatistics]:
        """Return the campaign's links by number."""
        await self._require(organisation_id, campaign_id)
        table = campaign_links
        query = sa.select(table).where(_is(table, organisation_id, campaign_id))
        if after is not None:
            query = query.where(table.c.number > after)
        rows = await self._rows(query.order_by(table.c.number).limit(limit))
        return [LinkStatistics(row.number, row.url, _counts(row, LINK_COUNTERS)) for row in rows]

    async def domains(
        self, organisation_id: UUID, campaign_id: UUID, after: tuple[int, str] | None, limit: int
    ) -> list[DomainStatistics]:
        """Return recipient domains, those with most recipients first."""
        await self._require(organisation_id, campaign_id)
        table = campaign_domains
        volume: sa.ColumnElement[int] = sum((table.c[name] for name in OUTCOMES[1:]), table.c[OUTCOMES[0]] + 0)
        query = sa.select(table, volume.label("volume")).where(_is(table, organisation_id, campaign_id))
        if after is not None:
            query = query.where(sa.or_(volume < after[0], sa.and_(volume == after[0], table.c.domain > after[1])))
        rows = await self._rows(query.order_by(volume.desc(), table.c.domain).limit(limit))
        return [DomainStatistics(row.domain, row.volume, _counts(row, DOMAIN_COUNTERS)) for row in rows]

    async def timeline(
        self, organisation_id: UUID, campaign_id: UUID, interval: Interval, after: datetime | None, limit: int
    ) -> list[TimePoint]:
        """Return hours or days (UTC) in which something happened."""
        await self._require(organisation_id, campaign_id)
        table = campaign_hours
        start = sa.func.date_trunc(
            sa.literal_column(f"'{Interval(interval)}'"), table.c.hour, sa.literal_column("'UTC'")
        )
        query = sa.select(start.label("start"), *(_sum(table, name) for name in HOUR_COUNTERS))
        query = query.where(_is(table, organisation_id, campaign_id))
        if after is not None:
            query = query.where(start > after)
        rows = await self._rows(query.group_by(start).order_by(start).limit(limit))
        return [TimePoint(row.start, _counts(row, HOUR_COUNTERS)) for row in rows]

    async def engagements(
        self,
        organisation_id: UUID,
        campaign_id: UUID,
        *,
        who: EngagementFilter,
        kind: HitKind | None,
        after: UUID | None,
        limit: int,
    ) -> list[EngagementRecord]:
        """Return single opens and clicks in the order in which they came."""
        await self._require(organisation_id, campaign_id)
        table, links = engagements.c, campaign_links.c
        same_link = sa.and_(links.campaign_id == table.campaign_id, links.number == table.link_number)
        query = (
            sa.select(engagements, links.url)
            .select_from(engagements.outerjoin(campaign_links, same_link))
            .where(_is(engagements, organisation_id, campaign_id))
        )
        if who is not EngagementFilter.ALL:
            query = query.where(table.is_machine.is_(who is EngagementFilter.MACHINES))
        if kind is not None:
            query = query.where(table.kind == kind)
        if after is not None:
            query = query.where(table.id > after)
        return [_engagement(row) for row in await self._rows(query.order_by(table.id).limit(limit))]

    async def _require(self, organisation_id: UUID, campaign_id: UUID) -> None:
        query = sa.select(campaigns.c.campaign_id).where(_is(campaigns, organisation_id, campaign_id))
        if not await self._rows(query):
            raise CampaignNotFound

    async def _rows(self, query: sa.Select[Any]) -> list[sa.Row[Any]]:
        try:
            async with self._engine.connect() as connection:
                return list(await connection.execute(query))
        except Exception as error:
            if is_transient(error):
                raise TransientError("statistics cannot be read") from error
            raise


def _is(table: sa.Table, organisation_id: UUID, campaign_id: UUID) -> sa.ColumnElement[bool]:
    return sa.and_(table.c.organisation_id == organisation_id, table.c.campaign_id == campaign_id)


def _sum(table: sa.Table, name: str) -> sa.ColumnElement[int]:
    return sa.cast(sa.func.coalesce(sa.func.sum(table.c[name]), 0), sa.BigInteger).label(name)


def _counts(row: sa.Row[Any], names: Iterable[str]) -> dict[str, int]:
    """Return counters as readers see them: a move may be known before the outcome that it moves from."""
    return {name: max(0, getattr(row, name)) for name in names}


def _status(row: sa.Row[Any]) -> CampaignStatus | None:
    return None if row.status is None else CampaignStatus(row.status)


def _campaign(row: sa.Row[Any]) -> CampaignStatistics:
    return CampaignStatistics(
        campaign_id=row.campaign_id,
        name=row.name,
        status=_status(row),
        audience=row.audience,
        started_at=row.started_at,
        counts=_counts(row, CAMPAIGN_COUNTERS),
        first_activity_at=row.first_activity_at,
        last_activity_at=row.last_activity_at,
        updated_at=row.updated_at,
    )


def _engagement(row: sa.Row[Any]) -> EngagementRecord:
    return EngagementRecord(
        id=row.id,
        contact_id=row.contact_id,
        kind=HitKind(row.kind),
        at=row.at,
        link_number=row.link_number,
        url=row.url,
        is_machine=row.is_machine,
    )
