"""What has happened with contacts, in PostgreSQL; see the port of the same name."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from posthorn_campaigns.adapters.db.tables import activities, subscription_changes
from posthorn_campaigns.domain.activities import Activity, NotedActivity
from posthorn_common.clock import new_id

# The contacts are locked: one that is being erased is gone once this got through.
_NOTE = sa.text(
    """
    INSERT INTO activities (contact_id, at, id, organisation_id, kind, campaign_id)
    SELECT contacts.id, told.at, told.id, contacts.organisation_id, told.kind, :campaign_id
    FROM unnest(CAST(:contact_ids AS uuid[]), CAST(:times AS timestamptz[]), CAST(:ids AS uuid[]),
                CAST(:kinds AS text[])) AS told (contact_id, at, id, kind)
    JOIN contacts ON contacts.id = told.contact_id AND contacts.organisation_id = :organisation_id
    ORDER BY contacts.id
    FOR KEY SHARE OF contacts
    """
).bindparams(
    sa.bindparam("organisation_id", type_=sa.Uuid),
    sa.bindparam("campaign_id", type_=sa.Uuid),
    sa.bindparam("contact_ids", type_=sa.ARRAY(sa.Uuid)),
    sa.bindparam("times", type_=sa.ARRAY(sa.DateTime(timezone=True))),
    sa.bindparam("ids", type_=sa.ARRAY(sa.Uuid)),
    sa.bindparam("kinds", type_=sa.ARRAY(sa.Text)),
)
_PURGE = sa.text(
    "DELETE FROM activities WHERE ctid = ANY(ARRAY("
    "SELECT ctid FROM activities WHERE at < now() - :retention LIMIT :rows FOR UPDATE SKIP LOCKED))"
).bindparams(sa.bindparam("retention", type_=sa.Interval))


class SqlActivities:
    """Stored activities."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def note(self, organisation_id: UUID, campaign_id: UUID | None, noted: Sequence[NotedActivity]) -> None:
        """Add what has happened to contacts; those that are gone are left out."""
        if not noted:
            return
        values = {
            "organisation_id": organisation_id,
            "campaign_id": campaign_id,
            "contact_ids": [one.contact_id for one in noted],
            "times": [one.at for one in noted],
            "ids": [new_id() for _ in noted],
            "kinds": [one.kind.value for one in noted],
        }
        await self._connection.execute(_NOTE, values)

    async def page(
        self, organisation_id: UUID, contact_id: UUID, before: tuple[datetime, UUID] | None, limit: int
    ) -> list[Activity]:
        """Return what has happened with a contact, and to its subscriptions, newest first."""
        told = sa.select(
            activities.c.id,
            activities.c.at,
            activities.c.kind,
            activities.c.campaign_id,
            sa.null().cast(sa.Uuid).label("list_id"),
        ).where(activities.c.organisation_id == organisation_id, activities.c.contact_id == contact_id)
        changes = sa.select(
            subscription_changes.c.id,
            subscription_changes.c.at,
            subscription_changes.c.status.label("kind"),
            sa.null().cast(sa.Uuid).label("campaign_id"),
            subscription_changes.c.list_id,
        ).where(
            subscription_changes.c.organisation_id == organisation_id, subscription_changes.c.contact_id == contact_id
        )
        parts = []
        for part, table in ((told, activities), (changes, subscription_changes)):
            if before is not None:
                part = part.where(sa.tuple_(table.c.at, table.c.id) < before)  # noqa: PLW2901  narrowed
            parts.append(part.order_by(table.c.at.desc(), table.c.id.desc()).limit(limit).subquery().select())
        both = sa.union_all(*parts).subquery()
        query = sa.select(both).order_by(both.c.at.desc(), both.c.id.desc()).limit(limit)
        return [
            Activity(row.id, row.at, row.kind, row.campaign_id, row.list_id)
            for row in await self._connection.execute(query)
        ]

    async def purge(self, retention: timedelta, limit: int) -> int:
        """Drop what is older; return how many."""
        return (await self._connection.execute(_PURGE, {"retention": retention, "rows": limit})).rowcount
