"""From the header and the rows of a CSV file to contacts, one row at a time."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence

from posthorn_campaigns.domain.audience import MAX_ATTRIBUTES, MAX_VALUE_CHARACTERS
from posthorn_campaigns.domain.errors import DuplicateColumn, InvalidColumn, MissingEmailColumn, TooManyColumns
from posthorn_campaigns.domain.imports import ImportedContact, RejectedRow

EMAIL, FIRST_NAME, LAST_NAME = "email", "first_name", "last_name"
MAX_COLUMNS = MAX_ATTRIBUTES
MAX_NAME_CHARACTERS = 200
_ALSO_CALLED = {
    "e_mail": EMAIL,
    "email_address": EMAIL,
    "e_mail_address": EMAIL,
    "firstname": FIRST_NAME,
    "lastname": LAST_NAME,
}
_COLUMN_NAME = re.compile(r"[a-z0-9_]{1,64}")
# Line breaks of Unicode, characters that reverse the text around them, and such as are not seen at all.
_TREACHEROUS = frozenset("\x85\u2028\u2029\u200b\u2060\ufeff\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def columns_of(header: Sequence[str]) -> tuple[str, ...]:
    """Return the names of the columns: lower case, underscores for spaces and hyphens; empty for one without a name.

    Raises MissingEmailColumn, InvalidColumn, DuplicateColumn, TooManyColumns.
    """
    if len(header) > MAX_COLUMNS:
        raise TooManyColumns(MAX_COLUMNS)
    spelt = (re.sub(r"[\s-]+", "_", cell.strip().lower()) for cell in header)
    names = tuple(_ALSO_CALLED.get(name, name) for name in spelt)
    if EMAIL not in names:
        raise MissingEmailColumn
    for position, name in enumerate(names, start=1):
        if name and not _COLUMN_NAME.fullmatch(name):
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
        if problem := _problem(name, value):
            return RejectedRow(number, name, *problem)
    try:
        email = normalise(address)
    except ValueError as error:
        return RejectedRow(number, EMAIL, "invalid_email", str(error))
    first_name, last_name = values.pop(FIRST_NAME, ""), values.pop(LAST_NAME, "")
    attributes = {name: value for name, value in values.items() if value}
    return ImportedContact(number, email, first_name, last_name, attributes)


def _problem(name: str, value: str) -> tuple[str, str] | None:
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
