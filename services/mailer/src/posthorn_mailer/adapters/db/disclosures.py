"""What the mailer knows of a contact, for whom it is about."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from posthorn_mailer.adapters.db.tables import (
    closed_deliveries,
    deliveries,
    messages,
    suppressed_contacts,
    suppressions,
)

_OUTCOME = (
    "email", "state", "attempts", "opened_at", "finished_at", "smtp_code", "enhanced_code", "cause", "reply",
)  # fmt: skip
# Not what is in them: while a message waits, that may be a link that is meant for the recipient alone.
_MESSAGE = (
    "id", "purpose", "to_email", "from_name", "from_email", "reply_to", "subject", "status", "created_at",
    "opened_at", "finished_at", "smtp_code", "enhanced_code", "cause", "reply",
)  # fmt: skip


class SqlDisclosures:
    """See the port Disclosures."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def records(self, organisation_id: UUID, contact_id: UUID, email: str) -> dict[str, list[dict[str, Any]]]:
        """Return all records about a contact, by kind. Mail about accounts is for users, and left out."""

        def of(table: sa.Table, *columns: Any) -> sa.Select[Any]:
            return sa.select(*columns).where(
                table.c.organisation_id == organisation_id, table.c.contact_id == contact_id
            )

        current = of(deliveries, deliveries.c.send_id.label("campaign_id"), *_columns(deliveries), deliveries.c.fields)
        closed = of(
            closed_deliveries,
            closed_deliveries.c.send_id.label("campaign_id"),
            *_columns(closed_deliveries),
            sa.null().label("fields"),
        )
        written = (
            sa.select(*(messages.c[name] for name in _MESSAGE))
            .where(
                messages.c.organisation_id == organisation_id,
                sa.or_(messages.c.contact_id == contact_id, messages.c.to_email == email),
                messages.c.purpose != "account",
            )
            .order_by(messages.c.id)
        )
        suppressed = sa.select(suppressions).where(
            suppressions.c.organisation_id == organisation_id,
            sa.or_(suppressions.c.email == email, suppressions.c.contact_id == contact_id),
        )
        left = of(suppressed_contacts, suppressed_contacts.c.reason, suppressed_contacts.c.created_at)
        # One statement for the two tables, since deliveries move from one to the other.
        delivered = current.union_all(closed).subquery()
        async with self._engine.connect() as connection:

            async def found(query: sa.Select[Any]) -> list[dict[str, Any]]:
                return [dict(row) for row in (await connection.execute(query)).mappings()]

            return {
                "deliveries": [
                    {**row, "fields": json.loads(row["fields"]) if row["fields"] else None}
                    for row in await found(sa.select(delivered).order_by(delivered.c.campaign_id))
                ],
                "messages": await found(written),
                "suppressions": await found(suppressed),
                "unsubscriptions": await found(left),
            }


def _columns(table: sa.Table) -> list[sa.Column[Any]]:
    return [table.c[name] for name in _OUTCOME]
