"""The audit log in PostgreSQL."""

from __future__ import annotations

from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncEngine

from posthorn_auth.adapters.db.tables import api_keys, audit_entries, users
from posthorn_auth.app.audit_log import AuditEntry, AuditFilter, Place
from posthorn_contracts.audit.v1 import ActionRecorded, ActorKind, AuditOutcome

_COLUMNS = (
    "id", "at", "service", "action", "actor_id", "resource_kind", "resource_id", "address", "request_id",
)  # fmt: skip
_EQUAL = ("actor_id", "action", "service", "resource_kind", "resource_id")


class SqlAuditEntries:
    """See the port AuditEntries."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def add(self, told: ActionRecorded) -> None:
        """Store what was told; the same event twice is one entry."""
        values = {
            **told.data.model_dump(),
            "id": told.id,
            "organisation_id": told.organisation_id,
            "at": told.occurred_at,
        }
        async with self._engine.begin() as connection:
            await connection.execute(insert(audit_entries).values(values).on_conflict_do_nothing())

    async def page(
        self, organisation_id: UUID, wanted: AuditFilter, *, after: Place | None, limit: int
    ) -> list[AuditEntry]:
        """Return entries, newest first, from this place on."""
        entries = audit_entries.c
        conditions = [entries.organisation_id == organisation_id]
        conditions += [entries[name] == value for name in _EQUAL if (value := getattr(wanted, name)) is not None]
        if wanted.since is not None:
            conditions.append(entries.at >= wanted.since)
        if wanted.until is not None:
            conditions.append(entries.at < wanted.until)
        if after is not None:
            conditions.append(sa.tuple_(entries.at, entries.id) < sa.tuple_(*map(sa.literal, after)))
        query = (
            sa.select(audit_entries, sa.func.coalesce(users.c.name, api_keys.c.name).label("actor_name"))
            .outerjoin(users, sa.and_(users.c.id == entries.actor_id, users.c.organisation_id == organisation_id))
            .outerjoin(
                api_keys, sa.and_(api_keys.c.id == entries.actor_id, api_keys.c.organisation_id == organisation_id)
            )
            .where(*conditions)
            .order_by(entries.at.desc(), entries.id.desc())
            .limit(limit)
        )
        async with self._engine.connect() as connection:
            rows = await connection.execute(query)
        return [
            AuditEntry(
                **{name: getattr(row, name) for name in _COLUMNS},
                outcome=AuditOutcome(row.outcome),
                actor_kind=ActorKind(row.actor_kind),
                actor_name=row.actor_name,
            )
            for row in rows
        ]
