"""Erased contacts."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from posthorn_analytics.adapters.db.tables import engagements, erased_contacts, recipients

# Writers share the lock, an erasure has it alone: it sees all that was written, and is seen by all that comes.
_LOCK = "hashtextextended(current_schema() || '.erasures', 0)"
_SHARE = sa.text(f"SELECT pg_advisory_xact_lock_shared({_LOCK})")
_EXCLUDE = sa.text(f"SELECT pg_advisory_xact_lock({_LOCK})")


class SqlErasures:
    """See the port Erasures."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def share(self) -> None:
        """Let nobody be erased until the transaction ends."""
        await self._connection.execute(_SHARE)

    async def erased_among(self, pseudonyms: Iterable[UUID]) -> set[UUID]:
        """Return those of the pseudonyms that stand for erased contacts."""
        query = sa.select(erased_contacts.c.pseudonym).where(
            erased_contacts.c.pseudonym == sa.any_(sa.cast(list(pseudonyms), sa.ARRAY(sa.Uuid)))
        )
        return set(await self._connection.scalars(query))

    async def erase(self, organisation_id: UUID, contact_id: UUID, pseudonym: UUID, at: datetime) -> dict[str, int]:
        """Replace the contact's id by the pseudonym, everywhere and from now on; return in how many rows, by table."""
        await self._connection.execute(_EXCLUDE)
        erased = {"pseudonym": pseudonym, "organisation_id": organisation_id, "erased_at": at}
        await self._connection.execute(insert(erased_contacts).values(erased).on_conflict_do_nothing())
        replaced = {}
        for table in (recipients, engagements):
            mine = sa.and_(table.c.organisation_id == organisation_id, table.c.contact_id == contact_id)
            change = sa.update(table).where(mine).values(contact_id=pseudonym)
            replaced[table.name] = (await self._connection.execute(change)).rowcount
        return replaced
