"""Subscriptions, their history and their confirmation in PostgreSQL; see the port of the same name."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from posthorn_campaigns.adapters.db.tables import (
    confirmations,
    contacts,
    lists,
    subscription_changes,
    subscriptions,
)
from posthorn_campaigns.app.ports_opt_in import OfferedList
from posthorn_campaigns.domain.audience import Contact, ContactList, ContactStatus
from posthorn_campaigns.domain.errors import ListNotFound
from posthorn_campaigns.domain.opt_in import (
    MAIL_AGAIN_AFTER,
    MAX_MAILS_A_DAY,
    Confirmation,
    OptIn,
    SubscriptionChange,
)
from posthorn_campaigns.domain.rules import SubscriptionStatus
from posthorn_common.clock import new_id

_NOW = sa.func.clock_timestamp()
_CONFIRMATION = [confirmations.c[name] for name in Confirmation.__dataclass_fields__]
_DAY = timedelta(days=1)
_OFFERED = 100


class SqlSubscriptions:
    """Stored subscriptions."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def public_list(self, list_id: UUID) -> ContactList:
        """Return a list that has a public form. Raises ListNotFound."""
        # It cannot be deleted until the transaction ends.
        query = (
            sa.select(lists).where(lists.c.id == list_id, lists.c.is_public).with_for_update(read=True, key_share=True)
        )
        row = (await self._connection.execute(query)).one_or_none()
        if row is None:
            raise ListNotFound
        return list_of(row)

    async def contact_of(self, organisation_id: UUID, email: str, first_name: str) -> UUID:
        """Return the contact with this address, locked; a new one if there is none."""
        values = {
            "id": new_id(),
            "organisation_id": organisation_id,
            "email": email,
            "first_name": first_name,
            "last_name": "",
            "attributes": {},
            "status": ContactStatus.ACTIVE,
            "created_at": _NOW,
            "updated_at": _NOW,
        }
        statement = insert(contacts).values(values)
        # Changes nothing, but locks the contact that is there and tells its id.
        statement = statement.on_conflict_do_update(
            index_elements=["organisation_id", "email"], set_={"email": statement.excluded.email}
        )
        contact_id: UUID = (await self._connection.execute(statement.returning(contacts.c.id))).scalar_one()
        return contact_id

    async def recipient(self, contact_id: UUID) -> Contact | None:
        """Return a contact, whatever its organisation, locked; None if it is gone."""
        query = sa.select(contacts).where(contacts.c.id == contact_id).with_for_update(key_share=True)
        row = (await self._connection.execute(query)).one_or_none()
        if row is None:
            return None
        values: dict[str, Any] = dict(row._mapping)  # noqa: SLF001  SQLAlchemy's name for it
        return Contact(**{**values, "status": ContactStatus(values["status"])})

    async def offered(self, contact: Contact) -> list[OfferedList]:
        """Return the lists that are public or that the contact has to do with, by name; a hundred at most."""
        is_theirs = sa.and_(subscriptions.c.list_id == lists.c.id, subscriptions.c.contact_id == contact.id)
        query = (
            sa.select(lists.c.id, lists.c.name, lists.c.description, subscriptions.c.status)
            .select_from(lists.outerjoin(subscriptions, is_theirs))
            .where(
                lists.c.organisation_id == contact.organisation_id,
                sa.or_(lists.c.is_public, subscriptions.c.status.is_not(None)),
            )
            .order_by(lists.c.name, lists.c.id)
            .limit(_OFFERED)
        )
        return [
            OfferedList(row.id, row.name, row.description, SubscriptionStatus(row.status) if row.status else None)
            for row in await self._connection.execute(query)
        ]

    async def status(self, list_id: UUID, contact_id: UUID) -> SubscriptionStatus | None:
        """Return what the contact is to the list; None if nothing."""
        query = sa.select(subscriptions.c.status).where(
            subscriptions.c.list_id == list_id, subscriptions.c.contact_id == contact_id
        )
        found = (await self._connection.execute(query)).scalar_one_or_none()
        return None if found is None else SubscriptionStatus(found)

    async def set_status(
        self,
        organisation_id: UUID,
        list_id: UUID,
        contact_id: UUID,
        status: SubscriptionStatus,
        *,
        method: str,
        remote_address: str | None,
    ) -> None:
        """Store what the contact is to the list, and how it came about; nothing if it is so already."""
        ids = {"organisation_id": organisation_id, "list_id": list_id, "contact_id": contact_id}
        statement = insert(subscriptions).values(**ids, status=status.value, changed_at=_NOW)
        statement = statement.on_conflict_do_update(
            index_elements=["list_id", "contact_id"],
            set_={"status": statement.excluded.status, "changed_at": statement.excluded.changed_at},
            where=subscriptions.c.status != statement.excluded.status,
        )
        changed = await self._connection.execute(statement.returning(subscriptions.c.contact_id))
        if changed.scalar() is not None:
            await note_changes(self._connection, [ids], status.value, method, remote_address)

    async def history(self, organisation_id: UUID, contact_id: UUID, limit: int) -> list[SubscriptionChange]:
        """Return what has become of the contact's subscriptions, newest first."""
        query = (
            sa.select(*(subscription_changes.c[name] for name in SubscriptionChange.__dataclass_fields__))
            .where(
                subscription_changes.c.organisation_id == organisation_id,
                subscription_changes.c.contact_id == contact_id,
            )
            .order_by(subscription_changes.c.at.desc(), subscription_changes.c.id.desc())
            .limit(limit)
        )
        return [SubscriptionChange(*row) for row in await self._connection.execute(query)]

    async def ask(
        self, organisation_id: UUID, list_id: UUID, contact_id: UUID, *, remote_address: str, lifetime: timedelta
    ) -> None:
        """Have a confirmation mail sent, unless one has been a moment ago, or too many today."""
        of_contact = sa.and_(
            confirmations.c.organisation_id == organisation_id, confirmations.c.contact_id == contact_id
        )
        # The contact is locked: nobody else asks at the same moment.
        query = sa.select(
            sa.func.count().filter(confirmations.c.list_id == list_id, _since(MAIL_AGAIN_AFTER)).label("lately"),
            sa.func.count().label("today"),
        ).where(of_contact, _since(_DAY))
        row = (await self._connection.execute(query)).one()
        if row.lately or row.today >= MAX_MAILS_A_DAY:
            return
        values = {
            "id": new_id(),
            "organisation_id": organisation_id,
            "list_id": list_id,
            "contact_id": contact_id,
            "requested_at": _NOW,
            "requested_from": remote_address,
            "expires_at": _NOW + lifetime,
            "attempts": 0,
            "next_attempt_at": _NOW,
        }
        await self._connection.execute(sa.insert(confirmations).values(values))

    async def claim_mails(self, limit: int, lease_seconds: float) -> list[tuple[Confirmation, str, str]]:
        """Return confirmations whose mail is due; others skip them for a while."""
        due = (
            sa.select(confirmations.c.id)
            .where(confirmations.c.next_attempt_at <= _NOW, confirmations.c.expires_at > _NOW)
            .order_by(confirmations.c.next_attempt_at)
            .limit(limit)
            .with_for_update(skip_locked=True)
            .cte("due")
        )
        claim = (
            sa.update(confirmations)
            .where(
                confirmations.c.id == due.c.id,
                contacts.c.id == confirmations.c.contact_id,
                lists.c.id == confirmations.c.list_id,
            )
            .values(next_attempt_at=_NOW + timedelta(seconds=lease_seconds), attempts=confirmations.c.attempts + 1)
            .returning(*_CONFIRMATION, contacts.c.email, lists.c.name)
        )
        rows = (await self._connection.execute(claim)).all()
        return [(Confirmation(*row[:-2]), row.email, row.name) for row in rows]

    async def handed_over(self, confirmation_id: UUID) -> None:
        """Note that the mailer has the mail."""
        await self._change(confirmation_id, next_attempt_at=None)

    async def postpone(self, confirmation_id: UUID, seconds: float) -> None:
        """Let a mail wait."""
        await self._change(confirmation_id, next_attempt_at=_NOW + timedelta(seconds=seconds))

    async def confirmation(self, confirmation_id: UUID) -> tuple[Confirmation, str, bool] | None:
        """Return a confirmation, locked, the list's name, and whether its time is over; None if it is gone."""
        query = (
            sa.select(*_CONFIRMATION, lists.c.name, (confirmations.c.expires_at <= _NOW).label("is_over"))
            .join(lists, lists.c.id == confirmations.c.list_id)
            .where(confirmations.c.id == confirmation_id)
            .with_for_update(of=confirmations)
        )
        row = (await self._connection.execute(query)).one_or_none()
        return None if row is None else (Confirmation(*row[:-2]), row.name, row.is_over)

    async def confirm(self, confirmation_id: UUID, remote_address: str) -> None:
        """Store the proof."""
        await self._change(confirmation_id, confirmed_at=_NOW, confirmed_from=remote_address, next_attempt_at=None)

    async def _change(self, confirmation_id: UUID, **values: Any) -> None:
        await self._connection.execute(
            sa.update(confirmations).where(confirmations.c.id == confirmation_id).values(**values)
        )


def _since(time: timedelta) -> sa.ColumnElement[bool]:
    return confirmations.c.requested_at > _NOW - time


async def note_changes(
    connection: AsyncConnection, which: list[dict[str, Any]], status: str, method: str, remote_address: str | None
) -> None:
    """Add to the history of subscriptions; `which` names organisation, list and contact of each."""
    if which:
        how = {"status": status, "method": method, "remote_address": remote_address}
        await connection.execute(sa.insert(subscription_changes), [ids | how for ids in which])


def list_of(row: sa.Row[Any]) -> ContactList:
    """Return the list in a row of the table."""
    values = {name: getattr(row, name) for name in lists.columns.keys()}  # noqa: SIM118  a collection of its own
    return ContactList(**{**values, "opt_in": OptIn(values["opt_in"])})
