"""Contacts and their subscriptions in PostgreSQL; see the port of the same name."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from posthorn_campaigns.adapters.db.rule_indexes import narrowing_of, searched
from posthorn_campaigns.adapters.db.rules import beginning
from posthorn_campaigns.adapters.db.searching import time_of, too_slow
from posthorn_campaigns.adapters.db.subscriptions import note_changes
from posthorn_campaigns.adapters.db.suppressions import is_suppressed, not_suppressed
from posthorn_campaigns.adapters.db.tables import contacts, subscriptions
from posthorn_campaigns.domain.audience import REPLACES, Contact, ContactStatus
from posthorn_campaigns.domain.errors import ContactExists, ContactNotFound
from posthorn_campaigns.domain.rules import Rule

_SUBSCRIBED, _UNSUBSCRIBED = "subscribed", "unsubscribed"
_COLUMNS = tuple(column.name for column in contacts.columns)
_STATUS = _COLUMNS.index("status")


# In one order, so that two that subscribe the same contacts do not wait for each other in a circle.
_SUBSCRIBE = sa.text(
    """
    WITH stored AS (
        INSERT INTO subscriptions AS known (list_id, contact_id, organisation_id, status, changed_at)
        SELECT list_id, contact_id, :organisation_id, 'subscribed', :now
        FROM unnest(:list_ids) AS list_id CROSS JOIN unnest(:contact_ids) AS contact_id
        ORDER BY list_id, contact_id
        ON CONFLICT (list_id, contact_id) DO UPDATE SET status = EXCLUDED.status, changed_at = EXCLUDED.changed_at
        WHERE known.status <> EXCLUDED.status AND :bring_back
        RETURNING contact_id, list_id
    )
    INSERT INTO subscription_changes (organisation_id, list_id, contact_id, status, method)
    SELECT :organisation_id, list_id, contact_id, 'subscribed', 'api' FROM stored
    """
).bindparams(
    sa.bindparam("organisation_id", type_=sa.Uuid),
    sa.bindparam("list_ids", type_=sa.ARRAY(sa.Uuid)),
    sa.bindparam("contact_ids", type_=sa.ARRAY(sa.Uuid)),
    sa.bindparam("now", type_=sa.DateTime(timezone=True)),
    sa.bindparam("bring_back", type_=sa.Boolean),
)
_CHANGEABLE = ("first_name", "last_name", "locale", "time_zone", "attributes", "updated_at")
_SAVE = (
    sa.update(contacts)
    .where(contacts.c.organisation_id == sa.bindparam("of_organisation"), contacts.c.id == sa.bindparam("of_id"))
    .values({name: sa.bindparam(f"new_{name}") for name in _CHANGEABLE})
)


class SqlContacts:
    """Stored contacts and their subscriptions."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def add(self, contact: Contact, list_ids: Sequence[UUID]) -> None:
        """Store a new contact on lists. Raises ContactExists."""
        added = await self._connection.execute(
            insert(contacts)
            .values({name: getattr(contact, name) for name in _COLUMNS})
            .on_conflict_do_nothing(index_elements=["organisation_id", "email"])
            .returning(contacts.c.id)
        )
        if added.scalar() is None:
            raise ContactExists(await self._id_of(contact.organisation_id, contact.email))
        await self.subscribe(contact.organisation_id, [contact.id], list_ids, contact.created_at)

    async def get(self, organisation_id: UUID, contact_id: UUID, *, lock: bool = False) -> Contact:
        """Return a contact of the organisation. Raises ContactNotFound."""
        query = sa.select(contacts).where(contacts.c.organisation_id == organisation_id, contacts.c.id == contact_id)
        if lock:
            query = query.with_for_update(key_share=True)
        row = (await self._connection.execute(query)).one_or_none()
        if row is None:
            raise ContactNotFound
        return contact_of(row)

    async def lists_of(self, organisation_id: UUID, contact_ids: Sequence[UUID]) -> dict[UUID, list[UUID]]:
        """Return the lists that each of the contacts is subscribed to."""
        query = (
            sa.select(subscriptions.c.contact_id, subscriptions.c.list_id)
            .where(
                subscriptions.c.organisation_id == organisation_id,
                subscriptions.c.contact_id.in_(contact_ids),
                subscriptions.c.status == _SUBSCRIBED,
            )
            .order_by(subscriptions.c.list_id)
        )
        found: dict[UUID, list[UUID]] = {contact_id: [] for contact_id in contact_ids}
        for contact_id, list_id in await self._connection.execute(query):
            found[contact_id].append(list_id)
        return found

    async def save(self, contact: Contact) -> None:
        """Store a changed contact; not its status, see set_status. Raises ContactExists."""
        change = (
            sa.update(contacts)
            .where(contacts.c.organisation_id == contact.organisation_id, contacts.c.id == contact.id)
            .values(
                email=contact.email,
                first_name=contact.first_name,
                last_name=contact.last_name,
                attributes=contact.attributes,
                locale=contact.locale,
                time_zone=contact.time_zone,
                updated_at=contact.updated_at,
            )
        )
        try:
            async with self._connection.begin_nested():
                await self._connection.execute(change)
        except IntegrityError as error:
            if "uq_contacts_organisation_id_email" in str(error.orig):
                raise ContactExists(await self._id_of(contact.organisation_id, contact.email)) from error
            raise

    async def by_email(self, organisation_id: UUID, emails: Sequence[str]) -> dict[str, Contact]:
        """Return those of the contacts that exist, by address, locked until the transaction ends."""
        wanted = sa.any_(sa.literal(list(emails), sa.ARRAY(sa.Text)))
        query = (
            sa.select(contacts)
            .where(contacts.c.organisation_id == organisation_id, contacts.c.email == wanted)
            .order_by(contacts.c.email)
            .with_for_update(key_share=True)
        )
        return {row.email: contact_of(row) for row in await self._connection.execute(query)}

    async def add_many(self, new: Sequence[Contact]) -> set[UUID]:
        """Store new contacts and return which were stored: not those whose address exists meanwhile."""
        if not new:
            return set()
        rows = [{name: getattr(contact, name) for name in _COLUMNS} for contact in sorted(new, key=lambda c: c.email)]
        statement = insert(contacts).on_conflict_do_nothing(index_elements=["organisation_id", "email"])
        return set(await self._connection.scalars(statement.returning(contacts.c.id), rows))

    async def save_many(self, changed: Sequence[Contact]) -> None:
        """Store names, locale, time zone and attributes of contacts that are locked."""
        if not changed:
            return
        rows = [
            {"of_organisation": contact.organisation_id, "of_id": contact.id}
            | {f"new_{name}": getattr(contact, name) for name in _CHANGEABLE}
            for contact in changed
        ]
        await self._connection.execute(_SAVE, rows)

    async def page(
        self,
        organisation_id: UUID,
        *,
        list_id: UUID | None,
        status: ContactStatus | None,
        suppressed: bool | None = None,
        search: str | None,
        rule: Rule | None = None,
        after: UUID | None,
        limit: int,
    ) -> list[Contact]:
        """Return contacts by id, after `after`. Raises SegmentTooSlow."""
        query = sa.select(contacts).where(contacts.c.organisation_id == organisation_id)
        order = contacts.c.id
        if list_id is not None and search is None:
            # Read along the list from the cursor on: otherwise the whole list would be sorted for each page.
            query = query.join(subscriptions, subscriptions.c.contact_id == contacts.c.id).where(*_on_list(list_id))
            order = subscriptions.c.contact_id
        elif list_id is not None:
            query = query.where(contacts.c.id.in_(sa.select(subscriptions.c.contact_id).where(*_on_list(list_id))))
        if status is not None:
            query = query.where(contacts.c.status == status)
        if suppressed is not None:
            query = query.where((is_suppressed if suppressed else not_suppressed)(organisation_id))
        if search is not None:
            query = query.where(_begins_with(search))
        if rule is not None:
            at = await time_of(self._connection)
            narrowing = await narrowing_of(self._connection, organisation_id, rule, at)
            query = query.where(searched(rule, at, narrowing))
        if after is not None:
            query = query.where(contacts.c.id > after, order > after)
        async with too_slow(self._connection):
            rows = await self._connection.execute(query.order_by(order).limit(limit))
        return [contact_of(row) for row in rows]

    async def set_status(
        self, organisation_id: UUID | None, contact_id: UUID, status: ContactStatus, now: datetime
    ) -> UUID | None:
        """Give the contact the status if it may replace the present one; return its organisation if it did."""
        change = (
            sa.update(contacts)
            .where(contacts.c.id == contact_id, contacts.c.status.in_(REPLACES[status]))
            .values(status=status, updated_at=now)
            .returning(contacts.c.organisation_id)
        )
        if organisation_id is not None:
            change = change.where(contacts.c.organisation_id == organisation_id)
        changed: UUID | None = (await self._connection.execute(change)).scalar_one_or_none()
        return changed

    async def subscribe(
        self,
        organisation_id: UUID,
        contact_ids: Sequence[UUID],
        list_ids: Sequence[UUID],
        now: datetime,
        *,
        bring_back: bool = True,
    ) -> None:
        """Put contacts on lists; with `bring_back` also on those that they had left or have not confirmed."""
        if not contact_ids or not list_ids:
            return
        values = {
            "organisation_id": organisation_id,
            "contact_ids": list(contact_ids),
            "list_ids": list(dict.fromkeys(list_ids)),
            "now": now,
            "bring_back": bring_back,
        }
        await self._connection.execute(_SUBSCRIBE, values)

    async def unsubscribe(
        self, organisation_id: UUID, contact_id: UUID, list_ids: Sequence[UUID], now: datetime
    ) -> list[UUID]:
        """Return the lists that the contact has left by this."""
        change = (
            sa.update(subscriptions)
            .where(
                subscriptions.c.organisation_id == organisation_id,
                subscriptions.c.contact_id == contact_id,
                subscriptions.c.list_id.in_(list_ids),
                subscriptions.c.status != _UNSUBSCRIBED,
            )
            .values(status=_UNSUBSCRIBED, changed_at=now)
            .returning(subscriptions.c.list_id)
        )
        left = list(await self._connection.scalars(change))
        changed = [
            {"organisation_id": organisation_id, "contact_id": contact_id, "list_id": list_id} for list_id in left
        ]
        await note_changes(self._connection, changed, _UNSUBSCRIBED, "api", None)
        return left

    async def _id_of(self, organisation_id: UUID, email: str) -> UUID | None:
        query = sa.select(contacts.c.id).where(contacts.c.organisation_id == organisation_id, contacts.c.email == email)
        return (await self._connection.execute(query)).scalar_one_or_none()


def _on_list(list_id: UUID) -> tuple[sa.ColumnElement[bool], ...]:
    # Not a parameter: so the index of audiences serves whatever plan is kept. The contact's organisation is asked for.
    subscribed = sa.literal(_SUBSCRIBED, literal_execute=True)
    return subscriptions.c.list_id == list_id, subscriptions.c.status == subscribed


def _begins_with(search: str) -> sa.ColumnElement[bool]:
    text = beginning(search.lower())
    full_name = sa.func.lower(contacts.c.first_name + sa.literal_column("' '::text") + contacts.c.last_name)
    return sa.or_(contacts.c.email.like(text), full_name.like(text), sa.func.lower(contacts.c.last_name).like(text))


def contact_of(row: sa.Row[Any]) -> Contact:
    """Return the contact in a row of the table."""
    values = list(row)
    values[_STATUS] = ContactStatus(values[_STATUS])
    return Contact(*values)
