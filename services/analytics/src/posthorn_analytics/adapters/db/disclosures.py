"""What analytics knows of a contact, for whom it is about."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from posthorn_analytics.adapters.db.tables import campaign_links, campaigns, engagements, recipients

_HIDDEN = ("organisation_id", "contact_id")


class SqlDisclosures:
    """See the port Disclosures."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def records(self, organisation_id: UUID, contact_id: UUID) -> dict[str, list[dict[str, Any]]]:
        """Return all records about a contact, by kind."""

        def mine(table: sa.Table) -> sa.ColumnElement[bool]:
            return sa.and_(table.c.organisation_id == organisation_id, table.c.contact_id == contact_id)

        received = (
            sa.select(campaigns.c.name.label("campaign_name"), *_shown(recipients))
            .select_from(recipients.outerjoin(campaigns, campaigns.c.campaign_id == recipients.c.campaign_id))
            .where(mine(recipients))
            .order_by(recipients.c.campaign_id)
        )
        link = sa.and_(
            campaign_links.c.campaign_id == engagements.c.campaign_id,
            campaign_links.c.number == engagements.c.link_number,
        )
        done = (
            sa.select(*_shown(engagements), campaign_links.c.url)
            .select_from(engagements.outerjoin(campaign_links, link))
            .where(mine(engagements))
            .order_by(engagements.c.at, engagements.c.id)
        )
        async with self._engine.connect() as connection:
            return {
                "recipients": [dict(row) for row in (await connection.execute(received)).mappings()],
                "engagements": [dict(row) for row in (await connection.execute(done)).mappings()],
            }


def _shown(table: sa.Table) -> list[sa.Column[Any]]:
    return [column for column in table.columns if column.name not in _HIDDEN]
