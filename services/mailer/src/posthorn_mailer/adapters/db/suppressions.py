"""Suppressions in PostgreSQL."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from posthorn_mailer.adapters.db.tables import erased_suppressions, suppressed_contacts, suppressions
from posthorn_mailer.app.ports_records import SuppressionFilter
from posthorn_mailer.domain.errors import SuppressionNotFound
from posthorn_mailer.domain.suppressions import HARD, Suppression, SuppressionReason

_STRENGTH = list(SuppressionReason)


class SqlSuppressions:
    """See the port Suppressions. `hash_key` keys the hashes that are kept of erased addresses."""

    def __init__(self, connection: AsyncConnection, hash_key: bytes) -> None:
        self._connection = connection
        self._hash_key = hash_key

    async def add(self, new: Sequence[Suppression]) -> frozenset[str]:
        """Store suppressions; an address that is there keeps the stronger reason and the later end.

        Return the addresses that are new.
        """
        if not new:
            return frozenset()
        await self._drop_expired(new[0].organisation_id, [item.email for item in new])
        # In one order, so that two such transactions cannot wait for one another.
        values = [
            {
                "organisation_id": item.organisation_id,
                "email": item.email,
                "reason": item.reason,
                "contact_id": item.contact_id,
                "source": item.source,
                "created_at": item.created_at,
                "expires_at": None if item.reason in HARD else item.expires_at,
            }
            for item in sorted(new, key=lambda item: (item.organisation_id, item.email))
        ]
        statement = insert(suppressions)
        excluded = statement.excluded
        is_stronger = _strength(excluded.reason) < _strength(suppressions.c.reason)
        never = sa.cast(sa.literal("infinity"), sa.DateTime(timezone=True))
        ends, ended = (sa.func.coalesce(column, never) for column in (excluded.expires_at, suppressions.c.expires_at))
        change: Any = statement.on_conflict_do_update(
            index_elements=["organisation_id", "email"],
            set_={
                "reason": sa.case((is_stronger, excluded.reason), else_=suppressions.c.reason),
                "source": sa.case((is_stronger, excluded.source), else_=suppressions.c.source),
                "contact_id": sa.func.coalesce(excluded.contact_id, suppressions.c.contact_id),
                "expires_at": sa.func.nullif(sa.func.greatest(ends, ended), never),
            },
            where=sa.or_(is_stronger, ends > ended),
        ).returning(suppressions.c.email, sa.literal_column("xmax = 0").label("is_new"))
        return frozenset(row.email for row in await self._connection.execute(change, values) if row.is_new)

    async def purge_expired(self) -> int:
        """Drop what has expired; return how many."""
        gone = sa.delete(suppressions).where(suppressions.c.expires_at <= sa.func.now())
        return (await self._connection.execute(gone)).rowcount

    async def _drop_expired(self, organisation_id: UUID, emails: Sequence[str]) -> None:
        await self._connection.execute(
            sa.delete(suppressions).where(
                suppressions.c.organisation_id == organisation_id,
                suppressions.c.email.in_(emails),
                suppressions.c.expires_at <= sa.func.now(),
            )
        )

    async def get(self, organisation_id: UUID, email: str) -> Suppression:
        """Return the suppression of an address. Raises SuppressionNotFound."""
        query = sa.select(suppressions).where(
            suppressions.c.organisation_id == organisation_id, suppressions.c.email == email, _is_alive()
        )
        row = (await self._connection.execute(query)).mappings().one_or_none()
        if row is None:
            raise SuppressionNotFound
        return _suppression(row)

    async def remove(self, organisation_id: UUID, email: str) -> None:
        """Let the address be mailed again. Raises SuppressionNotFound."""
        change = sa.delete(suppressions).where(
            suppressions.c.organisation_id == organisation_id, suppressions.c.email == email, _is_alive()
        )
        erased = sa.delete(erased_suppressions).where(
            erased_suppressions.c.organisation_id == organisation_id,
            erased_suppressions.c.email_hash == self._hash(organisation_id, email),
        )
        removed = [(await self._connection.execute(statement)).rowcount for statement in (change, erased)]
        if not any(removed):
            raise SuppressionNotFound

    async def page(
        self, organisation_id: UUID, wanted: SuppressionFilter, after: str | None, limit: int
    ) -> list[Suppression]:
        """Return suppressions by address, after `after`."""
        # Compared by bytes, whatever the database's language: a cursor must not skip anybody.
        email = sa.collate(suppressions.c.email, "C")
        query = sa.select(suppressions).where(suppressions.c.organisation_id == organisation_id, _is_alive())
        if wanted.search:
            query = query.where(suppressions.c.email.contains(wanted.search.lower(), autoescape=True))
        if wanted.reason is not None:
            query = query.where(suppressions.c.reason == wanted.reason)
        if after is not None:
            query = query.where(email > after)
        rows = await self._connection.execute(query.order_by(email).limit(limit))
        return [_suppression(row) for row in rows.mappings()]

    async def suppress_contact(self, organisation_id: UUID, contact_id: UUID, reason: str, at: datetime) -> None:
        """Let the contact not be mailed any more."""
        values = {"organisation_id": organisation_id, "contact_id": contact_id, "reason": reason, "created_at": at}
        statement = insert(suppressed_contacts)
        latest = sa.func.greatest(suppressed_contacts.c.created_at, statement.excluded.created_at)
        keys = ["organisation_id", "contact_id", "reason"]
        await self._connection.execute(
            statement.on_conflict_do_update(index_elements=keys, set_={"created_at": latest}), values
        )

    async def readmit_contact(self, organisation_id: UUID, contact_id: UUID, until: datetime) -> None:
        """Drop what says that the contact has left, if it is not younger than `until`."""
        for table in (suppressed_contacts, suppressions):
            await self._connection.execute(
                sa.delete(table).where(
                    table.c.organisation_id == organisation_id,
                    table.c.contact_id == contact_id,
                    table.c.reason == SuppressionReason.UNSUBSCRIBE,
                    table.c.created_at <= until,
                )
            )

    async def forget(self, organisation_id: UUID, emails: Collection[str], at: datetime) -> int:
        """Drop addresses for good and keep a keyed hash of each, with the reason; return how many were suppressed."""
        if not emails:
            return 0
        gone = sa.delete(suppressions).where(
            suppressions.c.organisation_id == organisation_id, suppressions.c.email.in_(emails)
        )
        rows = (await self._connection.execute(gone.returning(suppressions.c.email, suppressions.c.reason))).all()
        reasons = {row.email: row.reason for row in rows}
        kept = [
            {
                "organisation_id": organisation_id,
                "email_hash": self._hash(organisation_id, email),
                "reason": reasons.get(email, SuppressionReason.UNSUBSCRIBE),
                "created_at": at,
            }
            for email in emails
        ]
        statement = insert(erased_suppressions)
        change = statement.on_conflict_do_update(
            index_elements=["organisation_id", "email_hash"],
            set_={"reason": statement.excluded.reason},
            where=_strength(statement.excluded.reason) < _strength(erased_suppressions.c.reason),
        )
        await self._connection.execute(change, kept)
        return len(rows)

    async def reinstate(self, organisation_id: UUID, owners: Mapping[str, UUID | None], at: datetime) -> int:
        """Suppress again those addresses that were erased, for the contacts who have them now; return how many."""
        of_organisation = erased_suppressions.c.organisation_id == organisation_id
        if not await self._connection.scalar(sa.select(sa.exists().where(of_organisation))):
            return 0
        by_hash = {self._hash(organisation_id, email): email for email in owners}
        hashes = sa.cast(list(by_hash), sa.ARRAY(sa.LargeBinary))
        gone = sa.delete(erased_suppressions).where(
            of_organisation, erased_suppressions.c.email_hash == sa.any_(hashes)
        )
        rows = (await self._connection.execute(gone.returning(erased_suppressions))).all()
        again = [(by_hash[row.email_hash], SuppressionReason(row.reason)) for row in rows]
        return len(
            await self.add(
                [
                    Suppression(organisation_id, email, reason, owners[email], "erased contact", at)
                    for email, reason in again
                ]
            )
        )

    def _hash(self, organisation_id: UUID, email: str) -> bytes:
        return hmac.digest(self._hash_key, organisation_id.bytes + email.encode(), hashlib.sha256)


def _is_alive() -> sa.ColumnElement[bool]:
    return sa.or_(suppressions.c.expires_at.is_(None), suppressions.c.expires_at > sa.func.now())


def _strength(reason: Any) -> sa.ColumnElement[int]:
    return sa.case({str(known): number for number, known in enumerate(_STRENGTH)}, value=reason, else_=len(_STRENGTH))


def _suppression(row: sa.RowMapping) -> Suppression:
    return Suppression(**{**row, "reason": SuppressionReason(row["reason"])})
