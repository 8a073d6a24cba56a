"""Lists in PostgreSQL; see the port of the same name."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from posthorn_campaigns.adapters.db.subscriptions import list_of
from posthorn_campaigns.adapters.db.tables import campaigns, list_counts, lists, segments
from posthorn_campaigns.domain.audience import ContactList
from posthorn_campaigns.domain.campaigns import RUNNING
from posthorn_campaigns.domain.errors import ListNotFound

_COLUMNS = tuple(column.name for column in lists.columns)
# Of all organisations. Rows that somebody else is folding at this moment are left to them.
_FOLD = sa.text(
    """
    WITH scattered AS (
        SELECT list_counts.list_id FROM list_counts LEFT JOIN lists ON lists.id = list_counts.list_id
        GROUP BY list_counts.list_id
        HAVING count(*) > 1 OR bool_or(lists.id IS NULL)
    ),
    chosen AS (
        SELECT list_id, id FROM list_counts WHERE list_id IN (SELECT list_id FROM scattered) FOR UPDATE SKIP LOCKED
    ),
    folded AS (
        DELETE FROM list_counts USING chosen
        WHERE list_counts.list_id = chosen.list_id AND list_counts.id = chosen.id
        RETURNING list_counts.*
    ),
    stored AS (
        INSERT INTO list_counts (list_id, organisation_id, contacts)
        SELECT list_id, organisation_id, sum(contacts) FROM folded
        WHERE EXISTS (SELECT FROM lists WHERE lists.id = folded.list_id)
        GROUP BY list_id, organisation_id
    )
    SELECT count(*) FROM folded
    """
)


class SqlLists:
    """Stored lists."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def add(self, contact_list: ContactList) -> None:
        """Store a new list."""
        await self._connection.execute(
            sa.insert(lists).values({name: getattr(contact_list, name) for name in _COLUMNS})
        )

    async def get(self, organisation_id: UUID, list_id: UUID, *, lock: bool = False) -> ContactList:
        """Return a list of the organisation. Raises ListNotFound."""
        query = sa.select(lists).where(lists.c.organisation_id == organisation_id, lists.c.id == list_id)
        if lock:
            query = query.with_for_update(key_share=True)
        row = (await self._connection.execute(query)).one_or_none()
        if row is None:
            raise ListNotFound
        return list_of(row)

    async def contact_counts(self, organisation_id: UUID, list_ids: Sequence[UUID]) -> dict[UUID, int]:
        """Return how many contacts are subscribed to each of the lists that have any."""
        query = (
            sa.select(list_counts.c.list_id, sa.func.sum(list_counts.c.contacts).label("contacts"))
            .where(list_counts.c.organisation_id == organisation_id, list_counts.c.list_id.in_(list_ids))
            .group_by(list_counts.c.list_id)
        )
        return {row.list_id: int(row.contacts) for row in await self._connection.execute(query)}

    async def fold_counts(self) -> int:
        """Make one row of those that count a list, and none of those of a list that is gone; return how many went."""
        return int((await self._connection.execute(_FOLD)).scalar_one())

    async def page(self, organisation_id: UUID, after: UUID | None, limit: int) -> list[ContactList]:
        """Return lists by id, after `after`."""
        query = sa.select(lists).where(lists.c.organisation_id == organisation_id).order_by(lists.c.id).limit(limit)
        if after is not None:
            query = query.where(lists.c.id > after)
        return [list_of(row) for row in await self._connection.execute(query)]

    async def save(self, contact_list: ContactList) -> None:
        """Store a changed list."""
        change = sa.update(lists).where(
            lists.c.organisation_id == contact_list.organisation_id, lists.c.id == contact_list.id
        )
        changeable = ("name", "description", "opt_in", "is_public")
        await self._connection.execute(change.values({name: getattr(contact_list, name) for name in changeable}))

    async def delete(self, organisation_id: UUID, list_id: UUID) -> None:
        """Delete a list with its subscriptions. Raises ListNotFound."""
        deleted = await self._connection.execute(
            sa.delete(lists).where(lists.c.organisation_id == organisation_id, lists.c.id == list_id)
        )
        if not deleted.rowcount:
            raise ListNotFound

    async def is_in_use(self, organisation_id: UUID, list_id: UUID) -> bool:
        """Whether a campaign that is scheduled or being sent, or a segment, uses the list."""
        by_campaign = sa.exists().where(
            campaigns.c.organisation_id == organisation_id,
            campaigns.c.status.in_(RUNNING),
            sa.or_(sa.any_(campaigns.c.list_ids) == list_id, sa.any_(campaigns.c.exclude_list_ids) == list_id),
        )
        by_segment = sa.exists().where(
            segments.c.organisation_id == organisation_id, sa.any_(segments.c.list_ids) == list_id
        )
        return bool(await self._connection.scalar(sa.select(sa.or_(by_campaign, by_segment))))

    async def missing(self, organisation_id: UUID, list_ids: Sequence[UUID]) -> list[UUID]:
        """Return which of the lists do not exist; the others cannot be deleted until the transaction ends."""
        query = (
            sa.select(lists.c.id)
            .where(lists.c.organisation_id == organisation_id, lists.c.id.in_(list_ids))
            .order_by(lists.c.id)
            .with_for_update(read=True, key_share=True)
        )
        found = set(await self._connection.scalars(query))
        return [list_id for list_id in list_ids if list_id not in found]
