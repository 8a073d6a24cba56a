"""Declared attributes in PostgreSQL; see the port of the same name."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from posthorn_campaigns.adapters.db.tables import contact_attributes, dropped_attribute_indexes
from posthorn_campaigns.domain.attributes import AttributeDeclaration, AttributeType, Declarations
from posthorn_campaigns.domain.errors import AttributeExists, AttributeNotFound

_COLUMNS = tuple(AttributeDeclaration.__dataclass_fields__)
_LOCK = sa.text("SELECT pg_advisory_xact_lock(hashtextextended('attributes ' || :organisation_id, 0))")


class SqlAttributes:
    """Stored declarations."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def lock(self, organisation_id: UUID) -> None:
        """Let nobody else declare or index attributes of the organisation until the transaction ends."""
        await self._connection.execute(_LOCK, {"organisation_id": str(organisation_id)})

    async def declared(self, organisation_id: UUID) -> Declarations:
        """Return the organisation's declarations by key."""
        query = sa.select(contact_attributes).where(contact_attributes.c.organisation_id == organisation_id)
        return {row.key: _declaration(row) for row in await self._connection.execute(query)}

    async def add(self, declaration: AttributeDeclaration) -> None:
        """Store a new declaration. Raises AttributeExists."""
        added = await self._connection.execute(
            insert(contact_attributes)
            .values({name: getattr(declaration, name) for name in _COLUMNS})
            .on_conflict_do_nothing(index_elements=["organisation_id", "key"])
            .returning(contact_attributes.c.id)
        )
        if added.scalar() is None:
            raise AttributeExists(declaration.key)

    async def get(self, organisation_id: UUID, attribute_id: UUID, *, lock: bool = False) -> AttributeDeclaration:
        """Return a declaration of the organisation. Raises AttributeNotFound."""
        query = sa.select(contact_attributes).where(_one(organisation_id, attribute_id))
        row = (await self._connection.execute(query.with_for_update(key_share=True) if lock else query)).one_or_none()
        if row is None:
            raise AttributeNotFound
        return _declaration(row)

    async def save(self, declaration: AttributeDeclaration) -> None:
        """Store whether it is required, its description and its index, which is filled later if it is another one."""
        is_same = contact_attributes.c.index_id.is_not_distinct_from(declaration.index_id)
        kept = {name: sa.case((is_same, contact_attributes.c[name])) for name in ("fill_from", "filled_to")}
        change = sa.update(contact_attributes).where(_one(declaration.organisation_id, declaration.id))
        await self._connection.execute(
            change.values(
                required=declaration.required,
                description=declaration.description,
                index_id=declaration.index_id,
                index_ready=sa.and_(is_same, contact_attributes.c.index_ready),
                **kept,
            )
        )

    async def delete(self, organisation_id: UUID, attribute_id: UUID) -> None:
        """Drop a declaration. Raises AttributeNotFound."""
        deleted = await self._connection.execute(
            sa.delete(contact_attributes).where(_one(organisation_id, attribute_id))
        )
        if not deleted.rowcount:
            raise AttributeNotFound

    async def drop_index(self, index_id: UUID) -> None:
        """Have the values of an index deleted later."""
        await self._connection.execute(sa.insert(dropped_attribute_indexes).values(index_id=index_id))


def _one(organisation_id: UUID, attribute_id: UUID) -> sa.ColumnElement[bool]:
    return sa.and_(contact_attributes.c.organisation_id == organisation_id, contact_attributes.c.id == attribute_id)


def _declaration(row: sa.Row[Any]) -> AttributeDeclaration:
    values = {name: getattr(row, name) for name in _COLUMNS}
    return AttributeDeclaration(**{**values, "type": AttributeType(row.type)})
