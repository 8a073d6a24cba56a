"""The mailer's suppression list in PostgreSQL; see the port of the same name."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.asyncio import AsyncConnection

from posthorn_campaigns.adapters.db.tables import contacts, suppressed_addresses
from posthorn_campaigns.domain.activities import ActivityKind
from posthorn_campaigns.domain.audience import ContactStatus
from posthorn_campaigns.domain.suppressions import Suppression
from posthorn_contracts.mailer.internal_v1 import SuppressionStates

_suppressed = suppressed_addresses.c
_TAKE = sa.text(
    """
    INSERT INTO suppressed_addresses AS known (organisation_id, email, reason, since, expires_at, told_at)
    SELECT :organisation_id, told.email, told.reason, told.since, told.expires_at, :told_at
    FROM unnest(:emails, :reasons, :since, :ends) AS told (email, reason, since, expires_at)
    WHERE NOT EXISTS (SELECT FROM erasures e WHERE e.organisation_id = :organisation_id AND e.email = told.email)
    ORDER BY told.email
    ON CONFLICT (organisation_id, email) DO UPDATE SET
        reason = EXCLUDED.reason, since = EXCLUDED.since, expires_at = EXCLUDED.expires_at, told_at = EXCLUDED.told_at
        WHERE known.told_at < EXCLUDED.told_at
    RETURNING new.email, old.reason AS before, new.reason AS after
    """
).bindparams(
    sa.bindparam("organisation_id", type_=sa.Uuid),
    sa.bindparam("told_at", type_=sa.DateTime(timezone=True)),
    sa.bindparam("emails", type_=sa.ARRAY(sa.Text)),
    sa.bindparam("reasons", type_=sa.ARRAY(sa.Text)),
    sa.bindparam("since", type_=sa.ARRAY(sa.DateTime(timezone=True))),
    sa.bindparam("ends", type_=sa.ARRAY(sa.DateTime(timezone=True))),
)
# By id, as all that note activities of several contacts. A domain's contacts are looked for among all once.
_NOTE = sa.text(
    """
    INSERT INTO activities (contact_id, at, id, organisation_id, kind)
    SELECT affected.id, :at, uuidv7(), :organisation_id, affected.kind FROM (
        SELECT contacts.id, told.kind
        FROM unnest(CAST(:emails AS text[]), CAST(:kinds AS text[])) AS told (email, kind)
        JOIN contacts ON contacts.organisation_id = :organisation_id
            AND contacts.email = told.email
        UNION ALL
        SELECT contacts.id, told.kind
        FROM contacts JOIN unnest(CAST(:domains AS text[]), CAST(:domain_kinds AS text[])) AS told (domain, kind)
            ON told.domain = '@' || split_part(contacts.email, '@', 2)
        WHERE contacts.organisation_id = :organisation_id AND cardinality(CAST(:domains AS text[])) > 0
    ) AS affected
    JOIN contacts ON contacts.id = affected.id
    ORDER BY contacts.id
    FOR KEY SHARE OF contacts
    """
).bindparams(
    sa.bindparam("organisation_id", type_=sa.Uuid),
    sa.bindparam("at", type_=sa.DateTime(timezone=True)),
    *(sa.bindparam(name, type_=sa.ARRAY(sa.Text)) for name in ("emails", "kinds", "domains", "domain_kinds")),
)


class SqlSuppressions:
    """What is known of the mailer's suppression list."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def take(self, organisation_id: UUID, told: SuppressionStates, now: datetime) -> None:
        """Store how addresses and domains are, unless something later was told, and what follows from it."""
        values = {
            "organisation_id": organisation_id,
            "told_at": told.read_at,
            "emails": [state.email for state in told.states],
            "reasons": [state.reason for state in told.states],
            "since": [state.since for state in told.states],
            "ends": [state.expires_at for state in told.states],
        }
        taken = (await self._connection.execute(_TAKE, values)).all()
        await self._let_bounced_be_active(organisation_id, [row.email for row in taken if row.after is None], now)
        changed = [(row.email, _kind(row)) for row in taken if (row.before is None) is not (row.after is None)]
        await self._note(organisation_id, changed, now)

    async def of(self, organisation_id: UUID, emails: Sequence[str]) -> dict[str, Suppression]:
        """Return those of the addresses that are suppressed at present."""
        wanted = {*emails, *(_domain(email) for email in emails)}
        query = sa.select(_suppressed.email, _suppressed.reason, _suppressed.since, _suppressed.expires_at).where(
            _suppressed.organisation_id == organisation_id,
            _suppressed.email == sa.any_(sa.literal(sorted(wanted), sa.ARRAY(sa.Text))),
            _is_alive(),
        )
        known = {row.email: row for row in await self._connection.execute(query)}
        found: dict[str, Suppression] = {}
        for email in emails:
            row = known.get(email) or known.get(_domain(email))
            if row is not None:
                found[email] = Suppression(row.reason, row.since, row.expires_at, is_of_domain=row.email != email)
        return found

    async def purge(self, retention: timedelta) -> int:
        """Drop what is left of suppressions that were lifted longer ago; return how many."""
        lifted = sa.and_(_suppressed.reason.is_(None), _suppressed.told_at < sa.func.now() - retention)
        return (await self._connection.execute(sa.delete(suppressed_addresses).where(lifted))).rowcount

    async def _let_bounced_be_active(self, organisation_id: UUID, emails: Sequence[str], now: datetime) -> None:
        if emails:
            change = sa.update(contacts).where(
                contacts.c.organisation_id == organisation_id,
                contacts.c.email == sa.any_(sa.literal(list(emails), sa.ARRAY(sa.Text))),
                contacts.c.status == ContactStatus.BOUNCED,
            )
            await self._connection.execute(change.values(status=ContactStatus.ACTIVE, updated_at=now))

    async def _note(self, organisation_id: UUID, changed: Sequence[tuple[str, str]], at: datetime) -> None:
        if changed:
            addresses = [one for one in changed if not one[0].startswith("@")]
            domains = [one for one in changed if one[0].startswith("@")]
            values = {
                "organisation_id": organisation_id,
                "at": at,
                "emails": [email for email, _kind in addresses],
                "kinds": [kind for _email, kind in addresses],
                "domains": [domain for domain, _kind in domains],
                "domain_kinds": [kind for _domain, kind in domains],
            }
            await self._connection.execute(_NOTE, values)


def not_suppressed(organisation_id: UUID) -> sa.ColumnElement[bool]:
    """Return the condition that a contact of the organisation has no suppressed address, for pages of contacts.

    The index is asked for each contact: a page must not cost what all suppressions do, as it would if they were made
    into a hash first.
    """
    addresses = sa.any_(postgresql.array([contacts.c.email, _DOMAIN_OF_CONTACT]))
    # Not EXISTS, which PostgreSQL may turn into just that.
    found: sa.Select[int] = (
        sa.select(sa.literal_column("1"))
        .where(_suppressed.organisation_id == organisation_id, _suppressed.email == addresses, _is_alive())
        .limit(sa.literal_column("1"))
    )
    # Nor IS NULL, of which PostgreSQL believes that it is rarely so: it would read all of a list for a page.
    return found.correlate(contacts).scalar_subquery().is_distinct_from(sa.literal_column("1"))


def is_suppressed(organisation_id: UUID) -> sa.ColumnElement[bool]:
    """Return the condition that a contact of the organisation has a suppressed address, for looking at many."""
    return sa.or_(*(_exists(organisation_id, email) for email in (contacts.c.email, _DOMAIN_OF_CONTACT)))


_DOMAIN_OF_CONTACT = sa.literal("@", literal_execute=True) + sa.func.split_part(
    contacts.c.email, sa.literal("@", literal_execute=True), sa.literal_column("2")
)


def _exists(organisation_id: UUID, email: sa.ColumnElement[str]) -> sa.ColumnElement[bool]:
    query = sa.select(sa.literal(1)).where(
        _suppressed.organisation_id == organisation_id, _suppressed.email == email, _is_alive()
    )
    return query.correlate(contacts).exists()


def _is_alive() -> sa.ColumnElement[bool]:
    ends = sa.or_(_suppressed.expires_at.is_(None), _suppressed.expires_at > sa.func.now())
    return sa.and_(_suppressed.reason.is_not(None), ends)


def _domain(email: str) -> str:
    return "@" + email.rpartition("@")[2]


def _kind(row: sa.Row[Any]) -> str:
    lifted = row.after is None
    return (ActivityKind.SUPPRESSION_LIFTED if lifted else ActivityKind.ADDRESS_SUPPRESSED).value
