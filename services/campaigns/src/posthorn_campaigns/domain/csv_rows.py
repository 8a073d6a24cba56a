"""From the header and the rows of a CSV file to contacts, one row at a time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from posthorn_campaigns.domain.attributes import Declarations
from posthorn_campaigns.domain.audience import MAX_ATTRIBUTES
from posthorn_campaigns.domain.column_names import EMAIL, column_name, is_column_name
from posthorn_campaigns.domain.errors import (
    DuplicateColumn,
    InvalidColumn,
    MissingEmailColumn,
    TooManyColumns,
    UnknownColumn,
)
from posthorn_campaigns.domain.imports import ImportedContact, RejectedRow
from posthorn_campaigns.domain.row_fields import Normalise, are_harmless, contact_of_values, text_problem

MAX_COLUMNS = MAX_ATTRIBUTES


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


class ContactsOfRows:
    """Makes contacts of the rows of a file."""

    def __init__(self, columns: Sequence[str], declared: Declarations, normalise: Normalise) -> None:
        self._columns = columns
        self._are_all_named = all(columns)
        self._declared = declared
        self._normalise = normalise

    def __call__(self, number: int, row: Sequence[str]) -> ImportedContact | RejectedRow:
        """Return the contact in a row, or why it is rejected. An empty cell says nothing."""
        if len(row) != len(self._columns):
            message = f"has {len(row)} columns, the header has {len(self._columns)}"
            return RejectedRow(number, "", "wrong_column_count", message)
        values = {name: cell for name, text in zip(self._columns, row, strict=True) if (cell := text.strip())}
        if not self._are_all_named:
            values.pop("", None)
        if not are_harmless("".join(values.values())):
            for name, value in values.items():
                if name != EMAIL and (problem := text_problem(name, value)):
                    return RejectedRow(number, name, *problem)
        return contact_of_values(number, values, self._declared, self._normalise, are_texts=True)
