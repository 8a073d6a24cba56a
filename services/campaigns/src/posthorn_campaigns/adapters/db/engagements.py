"""When contacts were last written to, opened or clicked, in PostgreSQL; see the port of the same name."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from posthorn_campaigns.domain.rules import EngagementKind

_COLUMNS = {
    EngagementKind.SENT: "last_sent_at",
    EngagementKind.OPENED: "last_opened_at",
    EngagementKind.CLICKED: "last_clicked_at",
}


def _record(column: str) -> sa.TextClause:
    # By id, so that two events about the same contacts do not wait for each other in a circle. Locked: a contact that
    # is being erased is gone once this got through.
    return sa.text(
        f"""
        INSERT INTO engagements AS known (contact_id, organisation_id, {column})
        SELECT contacts.id, contacts.organisation_id, told.at
        FROM unnest(CAST(:ids AS uuid[]), CAST(:times AS timestamptz[])) AS told (id, at)
        JOIN contacts ON contacts.id = told.id AND contacts.organisation_id = :organisation_id
        ORDER BY contacts.id
        FOR KEY SHARE OF contacts
        ON CONFLICT (contact_id) DO UPDATE SET {column} = EXCLUDED.{column}
        WHERE known.{column} IS NULL OR known.{column} < EXCLUDED.{column}
        """  # noqa: S608  one of three names
    ).bindparams(
        sa.bindparam("ids", type_=sa.ARRAY(sa.Uuid)),
        sa.bindparam("times", type_=sa.ARRAY(sa.DateTime(timezone=True))),
        sa.bindparam("organisation_id", type_=sa.Uuid),
    )


_RECORD = {kind: _record(column) for kind, column in _COLUMNS.items()}


class SqlEngagements:
    """Stored engagements."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def record(self, organisation_id: UUID, kind: EngagementKind, latest: Mapping[UUID, datetime]) -> None:
        """Note what has happened to contacts; what is older than known changes nothing. Contacts may be gone."""
        if latest:
            values = {"organisation_id": organisation_id, "ids": list(latest), "times": list(latest.values())}
            await self._connection.execute(_RECORD[kind], values)
