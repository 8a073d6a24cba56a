"""What is known of campaigns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from posthorn_analytics.adapters.db.tables import campaign_links, campaigns
from posthorn_analytics.app.ports import Fact, LinkTable
from posthorn_analytics.domain.campaigns import PRECEDENCE, CampaignStatus


class SqlCampaigns:
    """See the port Campaigns."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def set_status(self, fact: Fact, status: CampaignStatus) -> None:
        """Set the status unless a newer one is known."""
        same_time_later_state = sa.and_(
            campaigns.c.status_at == fact.at, _precedence(campaigns.c.status) < PRECEDENCE.index(status)
        )
        await self._set(fact, "status", status, same_time_later_state)

    async def set_name(self, fact: Fact, name: str) -> None:
        """Set the name unless a newer one is known."""
        await self._set(fact, "name", name)

    async def set_audience(self, fact: Fact, audience: int) -> None:
        """Set the number of recipients unless a newer one is known."""
        await self._set(fact, "audience", audience)

    async def set_notice(self, fact: Fact, notice: str | None) -> None:
        """Set or clear the notice unless a newer one is known."""
        await self._set(fact, "notice", notice)

    async def set_started(self, fact: Fact) -> None:
        """Set the time of the first start."""
        known = campaigns.c.started_at
        statement = _insert(fact, started_at=fact.at).on_conflict_do_update(
            index_elements=["campaign_id"],
            set_={"started_at": fact.at, "updated_at": sa.func.now()},
            where=sa.or_(known.is_(None), known > fact.at),
        )
        await self._connection.execute(statement)

    async def add_links(self, organisation_id: UUID, campaign_id: UUID, links: Mapping[int, str]) -> None:
        """Store the link table; what is there stays."""
        if links:
            rows = [
                {"campaign_id": campaign_id, "organisation_id": organisation_id, "number": number, "url": links[number]}
                for number in sorted(links)
            ]
            await self._connection.execute(insert(campaign_links).values(rows).on_conflict_do_nothing())
        statement = insert(campaigns).values(campaign_id=campaign_id, organisation_id=organisation_id, links_known=True)
        await self._connection.execute(
            statement.on_conflict_do_update(index_elements=["campaign_id"], set_={"links_known": True})
        )

    async def exists(self, organisation_id: UUID, campaign_id: UUID) -> bool:
        """Whether anything is known of the organisation's campaign."""
        ours = sa.and_(campaigns.c.organisation_id == organisation_id, campaigns.c.campaign_id == campaign_id)
        return bool(await self._connection.scalar(sa.select(sa.exists().where(ours))))

    async def links(self, campaign_id: UUID) -> LinkTable | None:
        """Return the campaign's link table; its signed token stands for the organisation."""
        query = sa.select(campaigns.c.organisation_id, campaigns.c.links_known)
        row = (await self._connection.execute(query.where(campaigns.c.campaign_id == campaign_id))).one_or_none()
        if row is None:
            return None
        if not row.links_known:
            return LinkTable(row.organisation_id, None)
        rows = await self._connection.execute(
            sa.select(campaign_links.c.number, campaign_links.c.url).where(
                campaign_links.c.organisation_id == row.organisation_id, campaign_links.c.campaign_id == campaign_id
            )
        )
        return LinkTable(row.organisation_id, {row.number: row.url for row in rows})

    async def _set(self, fact: Fact, column: str, value: Any, also: sa.ColumnElement[bool] | None = None) -> None:
        known_at = campaigns.c[f"{column}_at"]
        newer = [known_at.is_(None), known_at < fact.at]
        if also is not None:
            newer.append(also)
        new = {column: value, f"{column}_at": fact.at}
        statement = _insert(fact, **new).on_conflict_do_update(
            index_elements=["campaign_id"], set_={**new, "updated_at": sa.func.now()}, where=sa.or_(*newer)
        )
        await self._connection.execute(statement)


def _insert(fact: Fact, **values: Any) -> Any:
    return insert(campaigns).values(campaign_id=fact.campaign_id, organisation_id=fact.organisation_id, **values)


def _precedence(status: sa.ColumnElement[str]) -> sa.ColumnElement[int]:
    return sa.case({str(known): index for index, known in enumerate(PRECEDENCE)}, value=status, else_=-1)
