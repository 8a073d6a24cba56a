"""Contacts withdrawn from sends, in PostgreSQL; see the port of the same name."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from posthorn_mailer.adapters.db.tables import sends, withdrawn_recipients

_MARK = sa.text("""
    WITH mine AS MATERIALIZED (
        SELECT send_id, number FROM deliveries
        WHERE organisation_id = :organisation AND send_id = ANY(:sends) AND contact_id = :contact AND NOT withdrawn
        ORDER BY send_id, number FOR UPDATE
    )
    UPDATE deliveries d SET withdrawn = true FROM mine WHERE d.send_id = mine.send_id AND d.number = mine.number
""").bindparams(
    sa.bindparam("organisation", type_=sa.Uuid),
    sa.bindparam("contact", type_=sa.Uuid),
    sa.bindparam("sends", type_=sa.ARRAY(sa.Uuid)),
)
_REMEMBER = sa.text("""
    INSERT INTO withdrawn_recipients (send_id, contact_id) SELECT unnest(:sends), :contact ON CONFLICT DO NOTHING
""").bindparams(sa.bindparam("contact", type_=sa.Uuid), sa.bindparam("sends", type_=sa.ARRAY(sa.Uuid)))
_APPLY = sa.text("""
    UPDATE deliveries SET withdrawn = true
    WHERE send_id = :send AND number >= :first AND contact_id = ANY(ARRAY(
        SELECT contact_id FROM withdrawn_recipients WHERE send_id = :send
    ))
""").bindparams(sa.bindparam("send", type_=sa.Uuid))


class SqlWithdrawals:
    """Stored withdrawals."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def withdraw(self, organisation_id: UUID, contact_id: UUID, send_ids: Sequence[UUID]) -> int:
        """Have the contact's deliveries of these sends not opened any more; return how many are there already."""
        # Locked, so that a page is either stored already, or sees what is remembered.
        known = (
            sa.select(sends.c.id, sends.c.planned_at)
            .where(sends.c.organisation_id == organisation_id, sends.c.id.in_(send_ids))
            .order_by(sends.c.id)
            .with_for_update()
        )
        rows = (await self._connection.execute(known)).all()
        values = {"organisation": organisation_id, "contact": contact_id, "sends": [row.id for row in rows]}
        unplanned = [row.id for row in rows if row.planned_at is None]
        if unplanned:
            await self._connection.execute(_REMEMBER, {"contact": contact_id, "sends": unplanned})
        return (await self._connection.execute(_MARK, values)).rowcount

    async def apply(self, send_id: UUID, first_number: int) -> None:
        """Withdraw deliveries from a number on whose contacts have left meanwhile."""
        await self._connection.execute(_APPLY, {"send": send_id, "first": first_number})

    async def forget(self, send_id: UUID) -> None:
        """Drop what was remembered of a send."""
        gone = sa.delete(withdrawn_recipients).where(withdrawn_recipients.c.send_id == send_id)
        await self._connection.execute(gone)
