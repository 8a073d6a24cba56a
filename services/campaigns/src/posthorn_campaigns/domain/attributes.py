"""Declared attributes: what an organisation says of the attributes of its contacts.

What is declared is checked wherever contacts are written, and stored in one form, so that segments can compare it.
Attributes that nobody has declared are kept as they come.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from posthorn_campaigns.domain.errors import AttributesDoNotFit

MAX_DECLARATIONS = 100
MAX_INDEXED = 5
INDEXED_CHARACTERS = 100
"""Of longer texts the index knows the beginning only."""
MAX_LIST_ITEMS = 100
_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d{1,3})?")
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")
_TRUE, _FALSE = frozenset({"true", "yes", "1"}), frozenset({"false", "no", "0"})


class AttributeType(StrEnum):
    """What values an attribute has.

    A `date` is stored as 2026-05-01; a `datetime`, given with its offset, in UTC to the second: 2026-05-01T12:30:00Z.
    A `list` holds strings.
    """

    STRING = "string"
    NUMBER = "number"
    BOOLEAN = "boolean"
    DATE = "date"
    DATETIME = "datetime"
    LIST = "list"


@dataclass(frozen=True, slots=True)
class AttributeDeclaration:
    """A declared attribute. A contact cannot be added without those that are `required`, nor lose them."""

    id: UUID
    organisation_id: UUID
    key: str
    type: AttributeType
    required: bool
    description: str
    created_at: datetime
    index_id: UUID | None = None
    """Names the index; None: there is none."""
    index_ready: bool = False
    """Whether all contacts are in the index, so that segments use it."""

    @property
    def indexed(self) -> bool:
        """Whether segments that ask for the attribute shall be found by an index."""
        return self.index_id is not None


NOT_INDEXABLE = frozenset({AttributeType.LIST})

Declarations = Mapping[str, AttributeDeclaration]
"""An organisation's declarations by key."""


def fitting(attributes: Mapping[str, Any], declared: Declarations, *, is_new: bool = False) -> dict[str, Any]:
    """Return attributes in the form in which they are stored; None, which removes one, stays.

    With `is_new` they are all that a contact will have. Raises AttributesDoNotFit, which names all that do not fit.
    """
    misfits: list[tuple[str, str, str]] = []
    fitted = dict(attributes)
    for key, declaration in declared.items():
        value = attributes.get(key)
        if value is None:
            if declaration.required and (is_new or key in attributes):
                misfits.append((key, "attribute_required", "is required"))
            continue
        try:
            fitted[key] = stored_value(declaration.type, value)
        except ValueError as error:
            misfits.append((key, "attribute_type", str(error)))
    if misfits:
        raise AttributesDoNotFit(misfits)
    return fitted


def stored_value(kind: AttributeType, value: Any) -> Any:
    """Return the form in which a JSON value is stored. Raises ValueError, worded to follow the attribute's key."""
    return _STORED[kind](value)


def value_of_text(kind: AttributeType, text: str) -> Any:
    """Return the value that the text of a CSV cell stands for, as it is stored; a list's items are parted by `;`.

    Raises ValueError, worded to follow the attribute's key.
    """
    text = text.strip()
    match kind:
        case AttributeType.NUMBER:
            if not _NUMBER.fullmatch(text):
                raise ValueError(_MUST_BE[kind])
            return _number(int(text) if text.lstrip("+-").isdecimal() else float(text))
        case AttributeType.BOOLEAN:
            if text.lower() in _TRUE:
                return True
            if text.lower() in _FALSE:
                return False
            raise ValueError("must be true or false")
        case AttributeType.LIST:
            return _list([item.strip() for item in text.split(";") if item.strip()])
        case _:
            return stored_value(kind, text)


_MUST_BE = {
    AttributeType.STRING: "must be a text",
    AttributeType.NUMBER: "must be a number",
    AttributeType.BOOLEAN: "must be true or false",
    AttributeType.DATE: "must be a date such as 2026-05-01",
    AttributeType.DATETIME: "must be a time with its offset, such as 2026-05-01T12:30:00Z",
    AttributeType.LIST: f"must be a list of up to {MAX_LIST_ITEMS} texts",
}


def _string(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(_MUST_BE[AttributeType.STRING])  # noqa: TRY004  one error for all that does not fit
    return value


def _number(value: Any) -> int | float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(_MUST_BE[AttributeType.NUMBER])  # noqa: TRY004
    if not math.isfinite(value) or (isinstance(value, int) and abs(value) >= 2**63):
        raise ValueError("must be a number of at most 64 bits")
    return value


def _boolean(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError(_MUST_BE[AttributeType.BOOLEAN])  # noqa: TRY004
    return value


def _date(value: Any) -> str:
    if not isinstance(value, str) or not _DATE.fullmatch(value):
        raise ValueError(_MUST_BE[AttributeType.DATE])
    try:
        return date.fromisoformat(value).isoformat()
    except ValueError as error:
        raise ValueError(_MUST_BE[AttributeType.DATE]) from error


def _datetime(value: Any) -> str:
    try:
        time = datetime.fromisoformat(value)
        in_utc = time.astimezone(UTC).replace(tzinfo=None)
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(_MUST_BE[AttributeType.DATETIME]) from error
    if time.tzinfo is None:
        raise ValueError(_MUST_BE[AttributeType.DATETIME])
    return f"{in_utc.isoformat(timespec='seconds')}Z"


def _list(value: Any) -> list[str]:
    if not isinstance(value, list) or len(value) > MAX_LIST_ITEMS or not all(isinstance(item, str) for item in value):
        raise ValueError(_MUST_BE[AttributeType.LIST])
    return list(dict.fromkeys(value))


_STORED: dict[AttributeType, Callable[[Any], Any]] = {
    AttributeType.STRING: _string,
    AttributeType.NUMBER: _number,
    AttributeType.BOOLEAN: _boolean,
    AttributeType.DATE: _date,
    AttributeType.DATETIME: _datetime,
    AttributeType.LIST: _list,
}
