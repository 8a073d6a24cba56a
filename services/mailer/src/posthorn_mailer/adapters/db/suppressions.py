"""Suppressions in PostgreSQL."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from posthorn_mailer.adapters.db.tables import (
    erased_suppressions,
    suppressed_contacts,
    suppression_changes,
    suppressions,
)
from posthorn_mailer.app.ports_records import SuppressionFilter
from posthorn_mailer.domain.errors import SuppressionNotFound
from posthorn_mailer.domain.suppressions import HARD, Suppression, SuppressionReason, SuppressionState

_NOTE_CHANGES = sa.text(
    "INSERT INTO suppression_changes (organisation_id, email) SELECT :organisation, unnest(:emails)"
).bindparams(sa.bindparam("organisation", type_=sa.Uuid), sa.bindparam("emails", type_=sa.ARRAY(sa.Text)))
_STRENGTH = list(SuppressionReason)
_PURGE_EXPIRED = sa.text("""
    WITH gone AS (
        DELETE FROM suppressions WHERE (organisation_id, email) IN (
            SELECT organisation_id, email FROM suppressions WHERE expires_at <= now()
            ORDER BY organisation_id, email LIMIT :limit FOR UPDATE SKIP LOCKED
        ) RETURNING organisation_id, email
    )
    INSERT INTO suppression_changes (organisation_id, email) SELECT organisation_id, email FROM gone
""")
_TAKE_CHANGES = sa.text("""
    WITH untold AS MATERIALIZED (
        SELECT id FROM suppression_changes WHERE change_id IS NULL AND organisation_id = (
            SELECT organisation_id FROM suppression_changes WHERE change_id IS NULL ORDER BY organisation_id LIMIT 1
        )
        ORDER BY id LIMIT :limit FOR UPDATE SKIP LOCKED
    )
    UPDATE suppression_changes told SET change_id = :change FROM untold WHERE told.id = untold.id
    RETURNING told.organisation_id
""").bindparams(sa.bindparam("change", type_=sa.Uuid))
_STATES = sa.text("""
    SELECT changed.email, s.reason, s.created_at, s.expires_at
    FROM (SELECT DISTINCT organisation_id, email FROM suppression_changes WHERE change_id = :change) changed
    LEFT JOIN suppressions s ON s.organisation_id = changed.organisation_id AND s.email = changed.email
        AND (s.expires_at IS NULL OR s.expires_at > now())
    ORDER BY changed.email
""").bindparams(sa.bindparam("change", type_=sa.Uuid))


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
        rows = (await self._connection.execute(change, values)).all()
        await note_changes(self._connection, new[0].organisation_id, [row.email for row in rows])
        return frozenset(row.email for row in rows if row.is_new)

    async def purge_expired(self, limit: int) -> int:
        """Drop what has expired, at most `limit`; return how many."""
        return (await self._connection.execute(_PURGE_EXPIRED, {"limit": limit})).rowcount

    async def take_changes(self, change_id: UUID, limit: int) -> tuple[UUID, int] | None:
        """Put changes of one organisation that nobody was told together; return whose, and how many."""
        rows = (await self._connection.execute(_TAKE_CHANGES, {"change": change_id, "limit": limit})).scalars().all()
        return (rows[0], len(rows)) if rows else None

    async def states(self, change_id: UUID) -> tuple[datetime, list[SuppressionState]]:
        """Return what has become of the addresses of a change, and a time at which that held, or before."""
        read_at: datetime = (await self._connection.execute(sa.select(sa.func.now()))).scalar_one()
        rows = await self._connection.execute(_STATES, {"change": change_id})
        return read_at, [
            SuppressionState(
                row.email, None if row.reason is None else SuppressionReason(row.reason), row.created_at, row.expires_at
            )
            for row in rows
        ]

    async def purge_changes(self, retention: timedelta) -> int:
        """Drop changes that were told longer ago; return how many."""
        old = sa.and_(
            suppression_changes.c.change_id.is_not(None), suppression_changes.c.at < sa.func.now() - retention
        )
        return (await self._connection.execute(sa.delete(suppression_changes).where(old))).rowcount

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
        await note_changes(self._connection, organisation_id, [email])

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
        gone = [
            sa.delete(table).where(
                table.c.organisation_id == organisation_id,
                table.c.contact_id == contact_id,
                table.c.reason == SuppressionReason.UNSUBSCRIBE,
                table.c.created_at <= until,
            )
            for table in (suppressed_contacts, suppressions)
        ]
        await self._connection.execute(gone[0])
        emails = await self._connection.scalars(gone[1].returning(suppressions.c.email))
        await note_changes(self._connection, organisation_id, emails.all())

    async def forget(self, organisation_id: UUID, emails: Collection[str], at: datetime) -> int:
        """Drop addresses for good and keep a keyed hash of each, with the reason; return how many were suppressed."""
        if not emails:
            return 0
        await self._connection.execute(
            sa.delete(suppression_changes).where(
                suppression_changes.c.organisation_id == organisation_id, suppression_changes.c.email.in_(emails)
            )
        )
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


async def note_changes(connection: AsyncConnection, organisation_id: UUID, emails: Sequence[str]) -> None:
    """Note addresses or domains whose suppression has changed, for the other services to be told."""
    if emails:
        values = {"organisation": organisation_id, "emails": list(emails)}
        await connection.execute(_NOTE_CHANGES, values)


def _is_alive() -> sa.ColumnElement[bool]:
    return sa.or_(suppressions.c.expires_at.is_(None), suppressions.c.expires_at > sa.func.now())


def _strength(reason: Any) -> sa.ColumnElement[int]:
    return sa.case({str(known): number for number, known in enumerate(_STRENGTH)}, value=reason, else_=len(_STRENGTH))


def _suppression(row: sa.RowMapping) -> Suppression:
    return Suppression(**{**row, "reason": SuppressionReason(row["reason"])})
