"""Erasures in PostgreSQL; see the port of the same name."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncConnection

from posthorn_campaigns.adapters.db.tables import contacts, erasures, suppressed_addresses
from posthorn_campaigns.domain.erasures import Erasure, ErasureConfirmation, ErasureState, HoldingService
from posthorn_campaigns.domain.errors import ContactNotFound, ErasureNotFound

# Those who copy contacts share the lock, an erasure has it alone: it sees all that was copied, and no copy comes after.
_LOCK = "hashtextextended(current_schema() || '.erasures.' || CAST(:organisation AS text), 0)"
_SHARE = sa.text(f"SELECT pg_advisory_xact_lock_shared({_LOCK})")
_EXCLUDE = sa.text(f"SELECT pg_advisory_xact_lock({_LOCK})")
_COUNT = sa.text("""
    SELECT (SELECT count(*) FROM subscriptions WHERE contact_id = :contact) AS subscriptions,
           (SELECT count(*) FROM subscription_changes WHERE contact_id = :contact) AS subscription_changes,
           (SELECT count(*) FROM confirmations WHERE contact_id = :contact) AS confirmations,
           (SELECT count(*) FROM activities WHERE contact_id = :contact) AS activities,
           (SELECT count(*) FROM access_requests WHERE contact_id = :contact) AS access_requests
""").bindparams(sa.bindparam("contact", type_=sa.Uuid))

# An address may lie across the border of two pieces.
_LONGEST_ADDRESS_BYTES = 1024
_DROP_EXPORTS = sa.text("""
    DELETE FROM exports WHERE organisation_id = :organisation AND id IN (
        SELECT export_id FROM (
            SELECT export_id,
                   data || coalesce(
                       substr(lead(data) OVER (PARTITION BY export_id ORDER BY number), 1, CAST(:longest AS int)), ''
                   ) AS data
            FROM export_pieces
            WHERE organisation_id = :organisation
              AND export_id IN (SELECT id FROM exports WHERE organisation_id = :organisation)
        ) piece WHERE position(:email IN data) > 0
    )
""").bindparams(sa.bindparam("organisation", type_=sa.Uuid), sa.bindparam("email", type_=sa.LargeBinary))
_PLAIN = tuple(
    column.name for column in erasures.columns if column.name in Erasure.__slots__ and column.name != "confirmations"
)


class SqlErasures:
    """See the port Erasures."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def share(self, organisation_id: UUID) -> None:
        """Let nobody be erased until the transaction ends."""
        await self._connection.execute(_SHARE, {"organisation": str(organisation_id)})

    async def erase(self, organisation_id: UUID, contact_id: UUID) -> tuple[str, dict[str, int]]:
        """Delete a contact and all that is about it; return its address and the counts. Raises ContactNotFound."""
        await self._connection.execute(_EXCLUDE, {"organisation": str(organisation_id)})
        mine = sa.and_(contacts.c.organisation_id == organisation_id, contacts.c.id == contact_id)
        email = await self._connection.scalar(sa.select(contacts.c.email).where(mine).with_for_update())
        if email is None:
            raise ContactNotFound
        about = (await self._connection.execute(_COUNT, {"contact": contact_id})).mappings().one()
        # What is about it goes with it.
        await self._connection.execute(sa.delete(contacts).where(mine))
        known = suppressed_addresses.c
        await self._connection.execute(
            sa.delete(suppressed_addresses).where(known.organisation_id == organisation_id, known.email == email)
        )
        values = {"organisation": organisation_id, "email": email.encode(), "longest": _LONGEST_ADDRESS_BYTES}
        exports = (await self._connection.execute(_DROP_EXPORTS, values)).rowcount
        return email, {"contacts": 1, **about, "exports": exports}

    async def add(self, erasure: Erasure, email_hash: bytes) -> None:
        """Store a new erasure, as asked for now."""
        values = {name: getattr(erasure, name) for name in _PLAIN if name not in {"requested_at", "completed_at"}}
        await self._connection.execute(sa.insert(erasures).values(**values, email_hash=email_hash))

    async def get(self, organisation_id: UUID, erasure_id: UUID) -> Erasure:
        """Return an erasure of the organisation. Raises ErasureNotFound."""
        return await self._one(erasures.c.organisation_id == organisation_id, erasures.c.id == erasure_id)

    async def subject(self, erasure_id: UUID) -> Erasure:
        """Return an erasure of whatever organisation. Raises ErasureNotFound."""
        return await self._one(erasures.c.id == erasure_id)

    async def page(
        self, organisation_id: UUID, *, email_hash: bytes | None, after: UUID | None, limit: int
    ) -> list[Erasure]:
        """Return erasures, newest first, before `after`."""
        query = sa.select(erasures).where(erasures.c.organisation_id == organisation_id)
        if email_hash is not None:
            query = query.where(erasures.c.email_hash == email_hash)
        if after is not None:
            query = query.where(erasures.c.id < after)
        rows = await self._connection.execute(query.order_by(erasures.c.id.desc()).limit(limit))
        return [_erasure(row) for row in rows]

    async def confirm(
        self, organisation_id: UUID, erasure_id: UUID, service: HoldingService, counts: Mapping[str, int]
    ) -> bool:
        """Note a service's first confirmation; return whether it was the last one that was missing."""
        told = sa.func.jsonb_build_object("at", sa.func.now(), "counts", sa.cast(dict(counts), JSONB))
        noted = (
            sa.update(erasures)
            .where(
                erasures.c.organisation_id == organisation_id,
                erasures.c.id == erasure_id,
                sa.not_(erasures.c.confirmations.has_key(service.value)),
            )
            .values(confirmations=erasures.c.confirmations + sa.func.jsonb_build_object(service.value, told))
        )
        await self._connection.execute(noted)
        everybody = sa.cast([each.value for each in HoldingService], sa.ARRAY(sa.Text))
        completed = (
            sa.update(erasures)
            .where(
                erasures.c.organisation_id == organisation_id,
                erasures.c.id == erasure_id,
                erasures.c.state == ErasureState.RUNNING,
                erasures.c.confirmations.has_all(everybody),
            )
            .values(state=ErasureState.COMPLETED, completed_at=sa.func.now(), email=None)
        )
        return bool((await self._connection.execute(completed)).rowcount)

    async def take_overdue(self, unanswered: timedelta, limit: int) -> list[Erasure]:
        """Return erasures that wait for so long, and let them wait anew."""
        overdue = (
            sa.select(erasures.c.id)
            .where(erasures.c.state == ErasureState.RUNNING, erasures.c.published_at <= sa.func.now() - unanswered)
            .order_by(erasures.c.published_at)
            .limit(limit)
            .with_for_update(skip_locked=True)
        )
        change = sa.update(erasures).where(erasures.c.id.in_(overdue)).values(published_at=sa.func.now())
        return [_erasure(row) for row in await self._connection.execute(change.returning(erasures))]

    async def _one(self, *conditions: sa.ColumnElement[bool]) -> Erasure:
        row = (await self._connection.execute(sa.select(erasures).where(*conditions))).one_or_none()
        if row is None:
            raise ErasureNotFound
        return _erasure(row)


def _erasure(row: Any) -> Erasure:
    values = {name: getattr(row, name) for name in _PLAIN} | {"state": ErasureState(row.state)}
    confirmations = {
        HoldingService(name): ErasureConfirmation(datetime.fromisoformat(told["at"]), told["counts"])
        for name, told in row.confirmations.items()
    }
    return Erasure(**values, confirmations=confirmations)
