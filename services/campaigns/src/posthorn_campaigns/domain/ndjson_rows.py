"""From the objects of an NDJSON file to contacts, one at a time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from posthorn_campaigns.domain.attributes import Declarations
from posthorn_campaigns.domain.audience import check_attributes
from posthorn_campaigns.domain.column_names import (
    EMAIL,
    FIRST_NAME,
    LAST_NAME,
    LOCALE,
    TIME_ZONE,
    column_name,
    is_column_name,
)
from posthorn_campaigns.domain.errors import InvalidAttributes
from posthorn_campaigns.domain.imports import ImportedContact, RejectedRow
from posthorn_campaigns.domain.row_fields import Normalise, contact_of_values, text_problem

ATTRIBUTES = "attributes"
"""The member whose own members are attributes by exactly their names, as contacts are exported."""

_TEXTS = (EMAIL, FIRST_NAME, LAST_NAME, LOCALE, TIME_ZONE)


class ContactsOfObjects:
    """Makes contacts of objects. A member that is null, or a text that is empty, says nothing.

    `mapping` says what a member becomes, None to leave it out; others are called as columns of CSV files are.
    """

    def __init__(self, mapping: Mapping[str, str | None], declared: Declarations, normalise: Normalise) -> None:
        self._mapping = mapping
        self._declared = declared
        self._normalise = normalise

    def __call__(self, number: int, given: Mapping[str, Any]) -> ImportedContact | RejectedRow:
        """Return the contact in an object, or why it is rejected."""
        values: dict[str, Any] = {}
        for written, value in given.items():
            name = self._mapping[written] if written in self._mapping else column_name(written)
            if value is None or not name:
                continue
            members = value.items() if name == ATTRIBUTES and isinstance(value, dict) else [(name, value)]
            for member, content in members:
                if not is_column_name(member):
                    return RejectedRow(number, "", "invalid_column", "has a member whose name no attribute can have")
                if member in values:
                    return RejectedRow(number, member, "duplicate_column", "says this more than once")
                if content is not None:
                    values[member] = content.strip() if isinstance(content, str) else content
        return self._checked(number, values)

    def _checked(self, number: int, values: dict[str, Any]) -> ImportedContact | RejectedRow:
        for name in _TEXTS:
            if not isinstance(values.get(name, ""), str):
                return RejectedRow(number, name, "wrong_type", "is no text")
        for name, value in values.items():
            if name != EMAIL and isinstance(value, str) and (problem := text_problem(name, value)):
                return RejectedRow(number, name, *problem)
        said = {name: value for name, value in values.items() if value != ""}
        contact = contact_of_values(number, said, self._declared, self._normalise, are_texts=False)
        if isinstance(contact, ImportedContact):
            try:
                check_attributes(contact.attributes)
            except InvalidAttributes as error:
                return RejectedRow(number, "", error.code, error.rule)
        return contact
