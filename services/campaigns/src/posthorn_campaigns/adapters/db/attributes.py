"""Declared attributes in PostgreSQL; see the port of the same name."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from posthorn_campaigns.adapters.db.tables import contact_attributes
from posthorn_campaigns.domain.attributes import AttributeDeclaration, AttributeType, Declarations
from posthorn_campaigns.domain.errors import AttributeExists, AttributeNotFound

_COLUMNS = tuple(column.name for column in contact_attributes.columns)


class SqlAttributes:
    """Stored declarations."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

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
        row = (await self._connection.execute(query.with_for_update() if lock else query)).one_or_none()
        if row is None:
            raise AttributeNotFound
        return _declaration(row)

    async def save(self, declaration: AttributeDeclaration) -> None:
        """Store whether it is required, and its description."""
        change = sa.update(contact_attributes).where(_one(declaration.organisation_id, declaration.id))
        await self._connection.execute(
            change.values(required=declaration.required, description=declaration.description)
        )

    async def delete(self, organisation_id: UUID, attribute_id: UUID) -> None:
        """Drop a declaration. Raises AttributeNotFound."""
        deleted = await self._connection.execute(
            sa.delete(contact_attributes).where(_one(organisation_id, attribute_id))
        )
        if not deleted.rowcount:
            raise AttributeNotFound


def _one(organisation_id: UUID, attribute_id: UUID) -> sa.ColumnElement[bool]:
    return sa.and_(contact_attributes.c.organisation_id == organisation_id, contact_attributes.c.id == attribute_id)


def _declaration(row: sa.Row[Any]) -> AttributeDeclaration:
    values = {name: getattr(row, name) for name in _COLUMNS}
    return AttributeDeclaration(**{**values, "type": AttributeType(row.type)})
