"""Segments in PostgreSQL; see the port of the same name."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from posthorn_campaigns.adapters.db.tables import campaigns, segments
from posthorn_campaigns.domain.campaigns import EDITABLE, RUNNING
from posthorn_campaigns.domain.errors import SegmentNotFound
from posthorn_campaigns.domain.segments import Segment

_COLUMNS = tuple(column.name for column in segments.columns)
_ARRAYS = ("attributes", "list_ids", "segment_ids")
_NOT_OVER = EDITABLE | RUNNING
_LOCK = sa.text("SELECT pg_advisory_xact_lock(hashtextextended('segments ' || :organisation_id, 0))")


class SqlSegments:
    """Stored segments."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def lock(self, organisation_id: UUID) -> None:
        """Let nobody else change the organisation's segments until the transaction ends."""
        await self._connection.execute(_LOCK, {"organisation_id": str(organisation_id)})

    async def add(self, segment: Segment) -> None:
        """Store a new segment."""
        await self._connection.execute(sa.insert(segments).values(_values(segment)))

    async def get(self, organisation_id: UUID, segment_id: UUID) -> Segment:
        """Return a segment of the organisation. Raises SegmentNotFound."""
        query = sa.select(segments).where(_one(organisation_id, segment_id))
        row = (await self._connection.execute(query)).one_or_none()
        if row is None:
            raise SegmentNotFound
        return _segment(row)

    async def page(self, organisation_id: UUID, after: UUID | None, limit: int) -> list[Segment]:
        """Return segments by id, after `after`."""
        query = sa.select(segments).where(segments.c.organisation_id == organisation_id)
        if after is not None:
            query = query.where(segments.c.id > after)
        return [_segment(row) for row in await self._connection.execute(query.order_by(segments.c.id).limit(limit))]

    async def save(self, segment: Segment) -> None:
        """Store a changed segment."""
        change = sa.update(segments).where(_one(segment.organisation_id, segment.id))
        await self._connection.execute(change.values(_values(segment)))

    async def delete(self, organisation_id: UUID, segment_id: UUID) -> None:
        """Delete a segment. Raises SegmentNotFound."""
        deleted = await self._connection.execute(sa.delete(segments).where(_one(organisation_id, segment_id)))
        if not deleted.rowcount:
            raise SegmentNotFound

    async def rules(self, organisation_id: UUID, segment_ids: Collection[UUID]) -> dict[UUID, dict[str, Any]]:
        """Return the rules of those of the segments that exist, and of all that these use, and so on."""
        found: dict[UUID, dict[str, Any]] = {}
        wanted = set(segment_ids)
        while wanted:
            query = sa.select(segments.c.id, segments.c.rule, segments.c.segment_ids).where(
                segments.c.organisation_id == organisation_id, segments.c.id.in_(wanted)
            )
            rows = (await self._connection.execute(query)).all()
            found.update({row.id: row.rule for row in rows})
            wanted = {segment_id for row in rows for segment_id in row.segment_ids} - found.keys()
        return found

    async def missing(self, organisation_id: UUID, segment_ids: Sequence[UUID]) -> list[UUID]:
        """Return which of the segments do not exist; the others cannot be deleted until the transaction ends."""
        if not segment_ids:
            return []
        query = (
            sa.select(segments.c.id)
            .where(segments.c.organisation_id == organisation_id, segments.c.id.in_(segment_ids))
            .order_by(segments.c.id)
            .with_for_update(read=True, key_share=True)
        )
        found = set(await self._connection.scalars(query))
        return [segment_id for segment_id in segment_ids if segment_id not in found]

    async def is_in_use(self, organisation_id: UUID, segment_id: UUID) -> bool:
        """Whether a campaign that is not over, or another segment, uses the segment."""
        by_campaign = sa.exists().where(
            campaigns.c.organisation_id == organisation_id,
            campaigns.c.status.in_(_NOT_OVER),
            sa.or_(
                sa.any_(campaigns.c.segment_ids) == segment_id, sa.any_(campaigns.c.exclude_segment_ids) == segment_id
            ),
        )
        by_segment = sa.exists().where(
            segments.c.organisation_id == organisation_id, sa.any_(segments.c.segment_ids) == segment_id
        )
        return bool(await self._connection.scalar(sa.select(sa.or_(by_campaign, by_segment))))

    async def use_attribute(self, organisation_id: UUID, key: str) -> bool:
        """Whether any segment asks for the attribute."""
        used = sa.exists().where(segments.c.organisation_id == organisation_id, sa.any_(segments.c.attributes) == key)
        return bool(await self._connection.scalar(sa.select(used)))


def _one(organisation_id: UUID, segment_id: UUID) -> sa.ColumnElement[bool]:
    return sa.and_(segments.c.organisation_id == organisation_id, segments.c.id == segment_id)


def _values(segment: Segment) -> dict[str, Any]:
    values = {name: getattr(segment, name) for name in _COLUMNS}
    return {**values, **{name: list(values[name]) for name in _ARRAYS}}


def _segment(row: sa.Row[Any]) -> Segment:
    values = {name: getattr(row, name) for name in _COLUMNS}
    return Segment(**{**values, **{name: tuple(values[name]) for name in _ARRAYS}})
