"""Allowed origins in PostgreSQL; see the port Origins."""

from __future__ import annotations

from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from posthorn_auth.adapters.db.tables import cors_origins


class SqlOrigins:
    """Which web pages may call the API for an organisation's users."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def of(self, organisation_id: UUID) -> list[str]:
        """Return the organisation's, sorted."""
        query = sa.select(cors_origins.c.origins).where(cors_origins.c.organisation_id == organisation_id)
        return list(await self._connection.scalar(query) or ())

    async def replace(self, organisation_id: UUID, origins: list[str]) -> None:
        """Store these in place of those before."""
        table = cors_origins
        if not origins:
            await self._connection.execute(sa.delete(table).where(table.c.organisation_id == organisation_id))
            return
        statement = insert(table).values(organisation_id=organisation_id, origins=origins)
        await self._connection.execute(
            statement.on_conflict_do_update(index_elements=["organisation_id"], set_={"origins": origins})
        )

    async def of_all(self) -> dict[UUID, list[str]]:
        """Return those of every organisation that allows any."""
        rows = await self._connection.execute(sa.select(cors_origins.c.organisation_id, cors_origins.c.origins))
        return {row.organisation_id: list(row.origins) for row in rows}
