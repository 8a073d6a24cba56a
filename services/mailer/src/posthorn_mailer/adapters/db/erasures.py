"""Erased contacts in PostgreSQL; see the port of the same name."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from posthorn_mailer.adapters.db.tables import (
    closed_deliveries,
    deliveries,
    messages,
    sends,
    suppressed_contacts,
    suppressions,
)

# Writers of an organisation share the lock, an erasure has it alone: it sees all that was written, and is seen by all
# that comes.
_LOCK = "hashtextextended(current_schema() || '.erasures.' || CAST(:organisation AS text), 0)"
_SHARE = sa.text(f"SELECT pg_advisory_xact_lock_shared({_LOCK})")
_EXCLUDE = sa.text(f"SELECT pg_advisory_xact_lock({_LOCK})")

# Mail about accounts is for users, who are no contacts: what of it waits is sent.
_BLANK_MESSAGES = sa.text("""
    UPDATE messages SET
        to_email = '', subject = '', html = NULL, text = '', reply = NULL, fingerprint = '',
        status = CASE WHEN status IN ('pending', 'deferred') THEN 'suppressed' ELSE status END,
        next_attempt_at = NULL,
        finished_at = CASE WHEN status IN ('pending', 'deferred') THEN clock_timestamp() ELSE finished_at END
    WHERE organisation_id = :organisation AND (contact_id = :contact OR to_email = ANY(:emails)) AND to_email <> ''
      AND (purpose <> 'account' OR status NOT IN ('pending', 'deferred', 'sending'))
""").bindparams(
    sa.bindparam("organisation", type_=sa.Uuid),
    sa.bindparam("contact", type_=sa.Uuid),
    sa.bindparam("emails", type_=sa.ARRAY(sa.Text)),
)


class SqlErasures:
    """See the port Erasures."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def share(self, organisation_id: UUID, contact_ids: Sequence[UUID | str]) -> frozenset[UUID]:
        """Let nobody be erased until the transaction ends; return who of these is erased."""
        await self._connection.execute(_SHARE, {"organisation": str(organisation_id)})
        ids = sa.cast(sa.cast([str(one) for one in contact_ids], sa.ARRAY(sa.Text)), sa.ARRAY(sa.Uuid))
        query = sa.select(suppressed_contacts.c.contact_id).where(
            suppressed_contacts.c.organisation_id == organisation_id,
            suppressed_contacts.c.reason == "erased",
            suppressed_contacts.c.contact_id == sa.any_(ids),
        )
        return frozenset(await self._connection.scalars(query))

    async def exclude(self, organisation_id: UUID) -> None:
        """Wait until nobody shares, and let nobody until the transaction ends."""
        await self._connection.execute(_EXCLUDE, {"organisation": str(organisation_id)})

    async def addresses(self, organisation_id: UUID, contact_id: UUID) -> frozenset[str]:
        """Return the addresses that the contact is known by."""
        delivered, closed = (
            sa.select(table.c.email)
            .join(sends, sends.c.id == table.c.send_id)
            .where(sends.c.organisation_id == organisation_id, table.c.contact_id == contact_id, table.c.email != "")
            for table in (deliveries, closed_deliveries)
        )
        written = sa.select(messages.c.to_email).where(
            messages.c.organisation_id == organisation_id,
            messages.c.contact_id == contact_id,
            messages.c.to_email != "",
        )
        suppressed = sa.select(suppressions.c.email).where(
            suppressions.c.organisation_id == organisation_id, suppressions.c.contact_id == contact_id
        )
        return frozenset(await self._connection.scalars(delivered.union(closed, written, suppressed)))

    async def blank_messages(self, organisation_id: UUID, contact_id: UUID, emails: Collection[str]) -> int:
        """Blank single messages to the contact or to one of the addresses, and cancel those that wait."""
        values = {"organisation": organisation_id, "contact": contact_id, "emails": list(emails)}
        return (await self._connection.execute(_BLANK_MESSAGES, values)).rowcount
