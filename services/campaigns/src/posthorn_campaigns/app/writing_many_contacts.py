"""Many contacts written by one request: each row is taken or rejected for itself, all that are taken together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any
from uuid import UUID

from posthorn_campaigns.app.ports import NewUnitOfWork
from posthorn_campaigns.domain.attributes import Declarations, fitting
from posthorn_campaigns.domain.audience import Contact, ContactStatus, check_attributes, merged_attributes
from posthorn_campaigns.domain.errors import CampaignsError, Invalid, NoSuchReference
from posthorn_campaigns.domain.imports import ImportMode
from posthorn_common.clock import Clock, new_id

MAX_ROWS = 10_000


class RowResult(StrEnum):
    """What has become of a row."""

    CREATED = "created"
    UPDATED = "updated"
    UNCHANGED = "unchanged"
    REJECTED = "rejected"


@dataclass(frozen=True, slots=True)
class ContactRow:
    """A row that is well formed; None says nothing about a part. `email` is normalised."""

    number: int
    email: str
    first_name: str | None = None
    last_name: str | None = None
    locale: str | None = None
    time_zone: str | None = None
    attributes: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class WrittenRow:
    """A row's result, with the contact, or the problems of a row that is rejected."""

    number: int
    result: RowResult
    contact_id: UUID | None = None
    problems: tuple[Mapping[str, str], ...] = ()


class WritingManyContacts:
    """The use case of bulk requests."""

    def __init__(self, *, new_unit_of_work: NewUnitOfWork, clock: Clock) -> None:
        self._new_unit_of_work = new_unit_of_work
        self._clock = clock

    async def write(
        self, organisation_id: UUID, rows: Sequence[ContactRow], mode: ImportMode, list_ids: Sequence[UUID]
    ) -> list[WrittenRow]:
        """Write rows in one transaction and return what has become of each; repeating it changes nothing.

        Contacts are put on the lists, but nobody back on a list that they have left, and statuses stay as they are.
        Raises NoSuchReference.
        """
        written: list[WrittenRow] = []
        added: list[Contact] = []
        changed: list[Contact] = []
        async with self._new_unit_of_work() as uow:
            if await uow.lists.missing(organisation_id, list_ids):
                raise NoSuchReference("list_ids")
            declared = await uow.attributes.declared(organisation_id)
            known = await uow.contacts.by_email(organisation_id, [row.email for row in rows])
            numbers: dict[UUID, int] = {}
            seen: set[str] = set()
            for row in rows:
                before = known.get(row.email)
                if row.email in seen:
                    written.append(_rejected(row, "duplicate_email", "is in the request already"))
                    continue
                seen.add(row.email)
                try:
                    contact = self._contact(organisation_id, row, before, declared, mode)
                except _NotWanted as reason:
                    written.append(_rejected(row, *reason.args))
                except Invalid as error:
                    written.append(WrittenRow(row.number, RowResult.REJECTED, problems=_problems(error)))
                else:
                    numbers[contact.id] = row.number
                    if before is None:
                        added.append(contact)
                    elif contact != before:
                        changed.append(contact)
                    else:
                        written.append(WrittenRow(row.number, RowResult.UNCHANGED, contact.id))
            fresh = await uow.contacts.add_many(added)
            await uow.contacts.save_many(changed)
            for contact in added:
                # Somebody else has added the address at this moment.
                taken = contact.id in fresh
                result = WrittenRow(numbers[contact.id], RowResult.CREATED, contact.id)
                row = ContactRow(numbers[contact.id], contact.email)
                written.append(result if taken else _rejected(row, "contact_exists", "was added at the same moment"))
            written += [WrittenRow(numbers[contact.id], RowResult.UPDATED, contact.id) for contact in changed]
            members = [row.contact_id for row in written if row.contact_id is not None]
            await uow.contacts.subscribe(organisation_id, members, list_ids, self._clock.now(), bring_back=False)
        return sorted(written, key=lambda row: row.number)

    def _contact(
        self, organisation_id: UUID, row: ContactRow, before: Contact | None, declared: Declarations, mode: ImportMode
    ) -> Contact:
        """Return the contact that a row leaves. Raises _NotWanted, InvalidAttributes, AttributesDoNotFit."""
        if before is None and mode is ImportMode.UPDATE_ONLY:
            raise _NotWanted("contact_not_found", "there is no such contact")
        if before is not None and mode is ImportMode.CREATE_ONLY:
            return before
        check_attributes(row.attributes)
        now = self._clock.now()
        if before is None:
            attributes = fitting(merged_attributes({}, row.attributes), declared, is_new=True)
            return Contact(
                id=new_id(),
                organisation_id=organisation_id,
                email=row.email,
                first_name=row.first_name or "",
                last_name=row.last_name or "",
                attributes=attributes,
                status=ContactStatus.ACTIVE,
                created_at=now,
                updated_at=now,
                locale=row.locale or None,
                time_zone=row.time_zone or None,
            )
        attributes = merged_attributes(before.attributes, fitting(row.attributes, declared))
        check_attributes(attributes)
        after = replace(
            before,
            first_name=before.first_name if row.first_name is None else row.first_name,
            last_name=before.last_name if row.last_name is None else row.last_name,
            locale=before.locale if row.locale is None else row.locale or None,
            time_zone=before.time_zone if row.time_zone is None else row.time_zone or None,
            attributes=attributes,
        )
        return after if after == before else replace(after, updated_at=now)


class _NotWanted(Exception):
    """The row does not fit the mode; has code and message."""


def _rejected(row: ContactRow, code: str, message: str) -> WrittenRow:
    problem = {"location": "email", "code": code, "message": message}
    return WrittenRow(row.number, RowResult.REJECTED, problems=(problem,))


def _problems(error: CampaignsError) -> tuple[Mapping[str, str], ...]:
    found = tuple({**each, "location": each["location"].removeprefix("body.")} for each in error.problems)
    return found or ({"location": "attributes", "code": error.code, "message": str(error)},)
