"""Contacts: add, change, find, and who wants mail."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from posthorn_campaigns.app.coming_back import tell_resubscribed
from posthorn_campaigns.app.ports import NewUnitOfWork, UnitOfWork
from posthorn_campaigns.app.resolving_rules import rule_of_segment
from posthorn_campaigns.domain.activities import Activity, ActivityKind, NotedActivity
from posthorn_campaigns.domain.attributes import fitting
from posthorn_campaigns.domain.audience import Contact, ContactStatus, check_attributes, merged_attributes
from posthorn_campaigns.domain.errors import InvalidTransition, NoSuchReference
from posthorn_campaigns.domain.opt_in import SubscriptionChange
from posthorn_campaigns.domain.suppressions import Suppression
from posthorn_common.auditing import concerns
from posthorn_common.clock import Clock, new_id
from posthorn_common.events import event
from posthorn_contracts.campaigns.v1 import (
    ContactUnsubscribed,
    ContactUnsubscribedData,
)

_HISTORY = 100
_PURGE_ROWS = 10_000


@dataclass(frozen=True, slots=True)
class NewContact:
    """A contact to add; `email` is normalised."""

    email: str
    first_name: str = ""
    last_name: str = ""
    locale: str | None = None
    time_zone: str | None = None
    attributes: Mapping[str, Any] = field(default_factory=dict)
    list_ids: tuple[UUID, ...] = ()


@dataclass(frozen=True, slots=True)
class ContactChange:
    """What to change; None leaves it as it is. An attribute set to None is removed, others not named stay.

    `locale` and `time_zone` are emptied by an empty text.
    """

    email: str | None = None
    first_name: str | None = None
    last_name: str | None = None
    locale: str | None = None
    time_zone: str | None = None
    attributes: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class ContactFilter:
    """Which contacts to list. `search` is the beginning of an address, of a full name or of a last name."""

    list_id: UUID | None = None
    segment_id: UUID | None = None
    status: ContactStatus | None = None
    suppressed: bool | None = None
    search: str | None = None


@dataclass(frozen=True, slots=True)
class ContactOnLists:
    """A contact, the lists that it is subscribed to, and why its address is not written to, if it is not."""

    contact: Contact
    list_ids: tuple[UUID, ...]
    suppression: Suppression | None = None


class ManagingContacts:
    """The use cases of contacts."""

    def __init__(self, *, new_unit_of_work: NewUnitOfWork, clock: Clock) -> None:
        self._new_unit_of_work = new_unit_of_work
        self._clock = clock

    async def add(self, organisation_id: UUID, wanted: NewContact) -> ContactOnLists:
        """Add a contact. Raises ContactExists, InvalidAttributes, AttributesDoNotFit, NoSuchReference."""
        attributes = merged_attributes({}, wanted.attributes)
        check_attributes(attributes)
        now = self._clock.now()
        contact = Contact(
            id=new_id(),
            organisation_id=organisation_id,
            email=wanted.email,
            first_name=wanted.first_name,
            last_name=wanted.last_name,
            attributes=attributes,
            status=ContactStatus.ACTIVE,
            created_at=now,
            updated_at=now,
            locale=wanted.locale or None,
            time_zone=wanted.time_zone or None,
        )
        async with self._new_unit_of_work() as uow:
            declared = await uow.attributes.declared(organisation_id)
            contact = replace(contact, attributes=fitting(attributes, declared, is_new=True))
            if await uow.lists.missing(organisation_id, wanted.list_ids):
                raise NoSuchReference("list_ids")
            concerns("contact", contact.id)
            await uow.contacts.add(contact, wanted.list_ids)
            return await _on_lists(uow, contact)

    async def get(self, organisation_id: UUID, contact_id: UUID) -> ContactOnLists:
        """Return a contact. Raises ContactNotFound."""
        async with self._new_unit_of_work() as uow:
            return await _on_lists(uow, await uow.contacts.get(organisation_id, contact_id))

    async def find(
        self, organisation_id: UUID, wanted: ContactFilter, after: UUID | None, limit: int
    ) -> list[ContactOnLists]:
        """Return contacts by id. Raises ListNotFound, SegmentNotFound when the filter names what does not exist."""
        async with self._new_unit_of_work() as uow:
            if wanted.list_id is not None:
                await uow.lists.get(organisation_id, wanted.list_id)
            rule = None if wanted.segment_id is None else await rule_of_segment(uow, organisation_id, wanted.segment_id)
            found = await uow.contacts.page(
                organisation_id,
                list_id=wanted.list_id,
                status=wanted.status,
                suppressed=wanted.suppressed,
                search=wanted.search,
                rule=rule,
                after=after,
                limit=limit,
            )
            lists = await uow.contacts.lists_of(organisation_id, [contact.id for contact in found])
            suppressed = await uow.suppressions.of(organisation_id, [contact.email for contact in found])
        return [ContactOnLists(contact, tuple(lists[contact.id]), suppressed.get(contact.email)) for contact in found]

    async def change(self, organisation_id: UUID, contact_id: UUID, change: ContactChange) -> ContactOnLists:
        """Change a contact. Raises ContactNotFound, ContactExists, InvalidAttributes, AttributesDoNotFit.

        Attributes that are not changed may be as they were before they were declared.
        """
        async with self._new_unit_of_work() as uow:
            changes: Mapping[str, Any] = change.attributes or {}
            if changes:
                check_attributes(changes)
                changes = fitting(changes, await uow.attributes.declared(organisation_id))
            contact = await uow.contacts.get(organisation_id, contact_id, lock=True)
            attributes = merged_attributes(contact.attributes, changes)
            check_attributes(attributes)
            changed = replace(
                contact,
                email=contact.email if change.email is None else change.email,
                first_name=contact.first_name if change.first_name is None else change.first_name,
                last_name=contact.last_name if change.last_name is None else change.last_name,
                locale=contact.locale if change.locale is None else change.locale or None,
                time_zone=contact.time_zone if change.time_zone is None else change.time_zone or None,
                attributes=attributes,
                updated_at=self._clock.now(),
            )
            await uow.contacts.save(changed)
            return await _on_lists(uow, changed)

    async def subscription_history(self, organisation_id: UUID, contact_id: UUID) -> list[SubscriptionChange]:
        """Return the last hundred changes of a contact's subscriptions, newest first. Raises ContactNotFound."""
        async with self._new_unit_of_work() as uow:
            await uow.contacts.get(organisation_id, contact_id)
            return await uow.subscriptions.history(organisation_id, contact_id, _HISTORY)

    async def timeline(
        self, organisation_id: UUID, contact_id: UUID, before: tuple[datetime, UUID] | None, limit: int
    ) -> list[Activity]:
        """Return what has happened with a contact, newest first, before `before`. Raises ContactNotFound."""
        async with self._new_unit_of_work() as uow:
            await uow.contacts.get(organisation_id, contact_id)
            return await uow.activities.page(organisation_id, contact_id, before, limit)

    async def purge_timelines(self, retention: timedelta) -> int:
        """Drop what has happened longer ago, in short transactions; return how many."""
        purged = 0
        while True:
            async with self._new_unit_of_work() as uow:
                dropped = await uow.activities.purge(retention, _PURGE_ROWS)
            purged += dropped
            if dropped < _PURGE_ROWS:
                return purged

    async def unsubscribe(self, organisation_id: UUID, contact_id: UUID) -> ContactOnLists:
        """Note that a contact wants no mail at all. Nothing changes for one who has said so before.

        Raises ContactNotFound.
        """
        async with self._new_unit_of_work() as uow:
            status = ContactStatus.UNSUBSCRIBED
            if await uow.contacts.set_status(organisation_id, contact_id, status, self._clock.now()):
                noted = NotedActivity(contact_id, ActivityKind.UNSUBSCRIBED_FROM_ALL, self._clock.now())
                await uow.activities.note(organisation_id, None, [noted])
                data = ContactUnsubscribedData(contact_id=contact_id, method="api")
                await uow.publish(event(ContactUnsubscribed, contact_id, organisation_id, data, self._clock))
            return await _on_lists(uow, await uow.contacts.get(organisation_id, contact_id))

    async def resubscribe(self, organisation_id: UUID, contact_id: UUID) -> ContactOnLists:
        """Note that a contact wants mail again; nothing changes for one who is active.

        Raises ContactNotFound, and InvalidTransition for a contact who has complained.
        """
        async with self._new_unit_of_work() as uow:
            status = ContactStatus.ACTIVE
            if await uow.contacts.set_status(organisation_id, contact_id, status, self._clock.now()):
                await tell_resubscribed(uow, organisation_id, [contact_id], self._clock)
            contact = await uow.contacts.get(organisation_id, contact_id)
            if contact.status is not status:
                raise InvalidTransition("contact", contact.status, status)
            return await _on_lists(uow, contact)


async def _on_lists(uow: UnitOfWork, contact: Contact) -> ContactOnLists:
    lists = await uow.contacts.lists_of(contact.organisation_id, [contact.id])
    suppressed = await uow.suppressions.of(contact.organisation_id, [contact.email])
    return ContactOnLists(contact, tuple(lists[contact.id]), suppressed.get(contact.email))
