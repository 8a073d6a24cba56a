"""From the objects of an NDJSON file to contacts, one at a time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from posthorn_campaigns.domain.audience import check_attributes
from posthorn_campaigns.domain.column_names import EMAIL, FIRST_NAME, LAST_NAME, column_name, is_column_name
from posthorn_campaigns.domain.csv_rows import text_problem
from posthorn_campaigns.domain.errors import InvalidAttributes
from posthorn_campaigns.domain.imports import ImportedContact, RejectedRow

ATTRIBUTES = "attributes"
"""The member whose own members are attributes by exactly their names, as contacts are exported."""


def contact_of_object(
    number: int, mapping: Mapping[str, str | None], given: Mapping[str, Any], normalise: Callable[[str], str]
) -> ImportedContact | RejectedRow:
    """Return the contact in an object, or why it is rejected. A member that is null says nothing.

    `mapping` says what a member becomes, None to leave it out; others are called as columns of CSV files are.
    """
    values: dict[str, Any] = {}
    for written, value in given.items():
        name = mapping[written] if written in mapping else column_name(written)
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
    return _contact(number, values, normalise)


def _contact(number: int, values: dict[str, Any], normalise: Callable[[str], str]) -> ImportedContact | RejectedRow:
    for name in (EMAIL, FIRST_NAME, LAST_NAME):
        if not isinstance(values.get(name, ""), str):
            return RejectedRow(number, name, "wrong_type", "is no text")
    for name, value in values.items():
        if name != EMAIL and isinstance(value, str) and (problem := text_problem(name, value)):
            return RejectedRow(number, name, *problem)
    try:
        email = normalise(values.pop(EMAIL, ""))
    except ValueError as error:
        return RejectedRow(number, EMAIL, "invalid_email", str(error))
    first_name, last_name = values.pop(FIRST_NAME, ""), values.pop(LAST_NAME, "")
    attributes = {name: value for name, value in values.items() if value != ""}
    try:
        check_attributes(attributes)
    except InvalidAttributes as error:
        return RejectedRow(number, "", error.code, str(error))
    return ImportedContact(number, email, first_name, last_name, attributes)
