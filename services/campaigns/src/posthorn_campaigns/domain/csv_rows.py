"""From the header and the rows of a CSV file to contacts, one row at a time."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from posthorn_campaigns.domain.audience import MAX_ATTRIBUTES, MAX_VALUE_CHARACTERS
from posthorn_campaigns.domain.column_names import EMAIL, FIRST_NAME, LAST_NAME, column_name, is_column_name
from posthorn_campaigns.domain.errors import (
    DuplicateColumn,
    InvalidColumn,
    MissingEmailColumn,
    TooManyColumns,
    UnknownColumn,
)
from posthorn_campaigns.domain.imports import ImportedContact, RejectedRow

MAX_COLUMNS = MAX_ATTRIBUTES
MAX_NAME_CHARACTERS = 200
# Line breaks of Unicode, characters that reverse the text around them, and such as are not seen at all.
_TREACHEROUS = frozenset("\x85\u2028\u2029\u200b\u2060\ufeff\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def columns_of(header: Sequence[str], mapping: Mapping[str, str | None] | None = None) -> tuple[str, ...]:
    """Return what each column becomes; empty for one that is left out.

    `mapping` names it by the column's name in the file, None to leave it out; others are named by column_name.
    Raises MissingEmailColumn, InvalidColumn, DuplicateColumn, TooManyColumns, UnknownColumn.
    """
    if len(header) > MAX_COLUMNS:
        raise TooManyColumns(MAX_COLUMNS)
    mapping = mapping or {}
    given = [cell.strip() for cell in header]
    for name in mapping:
        if name not in given:
            raise UnknownColumn(name)
    names = tuple((mapping[cell] or "") if cell in mapping else column_name(cell) for cell in given)
    if EMAIL not in names:
        raise MissingEmailColumn
    for position, name in enumerate(names, start=1):
        if name and not is_column_name(name):
            raise InvalidColumn(position)
    name, times = Counter(name for name in names if name).most_common(1)[0]
    if times > 1:
        raise DuplicateColumn(name)
    return names


def contact_of(
    number: int, columns: Sequence[str], row: Sequence[str], normalise: Callable[[str], str]
) -> ImportedContact | RejectedRow:
    """Return the contact in a row, or why it is rejected. `normalise` raises ValueError for what is no address."""
    if len(row) != len(columns):
        message = f"has {len(row)} columns, the header has {len(columns)}"
        return RejectedRow(number, "", "wrong_column_count", message)
    values = {name: value.strip() for name, value in zip(columns, row, strict=True) if name}
    address = values.pop(EMAIL)
    for name, value in values.items():
        if problem := text_problem(name, value):
            return RejectedRow(number, name, *problem)
    try:
        email = normalise(address)
    except ValueError as error:
        return RejectedRow(number, EMAIL, "invalid_email", str(error))
    first_name, last_name = values.pop(FIRST_NAME, ""), values.pop(LAST_NAME, "")
    attributes = {name: value for name, value in values.items() if value}
    return ImportedContact(number, email, first_name, last_name, attributes)


def text_problem(name: str, value: str) -> tuple[str, str] | None:
    """Return code and message of what makes a text unfit for its column; None if it is fit."""
    single_line = name in {FIRST_NAME, LAST_NAME}
    limit = MAX_NAME_CHARACTERS if single_line else MAX_VALUE_CHARACTERS
    if len(value) > limit:
        return "too_long", f"has more than {limit} characters"
    if value.isascii() and value.isprintable():
        return None
    for char in value:
        if char in "\n\r\t" and not single_line:
            continue
        if char in _TREACHEROUS or unicodedata.category(char) in {"Cc", "Cs"}:
            return "control_characters", "contains line breaks, control characters or invisible characters"
    return None
