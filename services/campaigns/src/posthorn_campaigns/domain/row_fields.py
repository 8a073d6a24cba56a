"""From what one row or object of a file says to a contact, whatever the format of the file."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any
from zoneinfo import available_timezones

from posthorn_campaigns.domain.attributes import Declarations, stored_value, value_of_text
from posthorn_campaigns.domain.audience import MAX_VALUE_CHARACTERS, language_tag
from posthorn_campaigns.domain.column_names import EMAIL, FIRST_NAME, LAST_NAME, LOCALE, TIME_ZONE
from posthorn_campaigns.domain.imports import ImportedContact, RejectedRow

MAX_NAME_CHARACTERS = 200
_SINGLE_LINE = frozenset({EMAIL, FIRST_NAME, LAST_NAME, LOCALE, TIME_ZONE})
# Control characters, halves of surrogate pairs, line breaks of Unicode, characters that reverse the text around them,
# and such as are not seen at all.
_UNSEEN = "\x7f-\x9f\ud800-\udfff\u2028\u2029\u200b\u2060\ufeff\u202a-\u202e\u2066-\u2069"
_BAD = re.compile(f"[\x00-\x08\x0b\x0c\x0e-\x1f{_UNSEEN}]")
_BAD_IN_LINE = re.compile(f"[\x00-\x1f{_UNSEEN}]")

Normalise = Callable[[str], str]
"""Returns an address as it is stored; raises ValueError for what is none."""


def are_harmless(texts: str) -> bool:
    """Whether text_problem finds nothing in any part of these texts, whatever the column; False if in doubt."""
    return len(texts) <= MAX_NAME_CHARACTERS and (texts.isprintable() or _BAD_IN_LINE.search(texts) is None)


def text_problem(name: str, value: str) -> tuple[str, str] | None:
    """Return code and message of what makes a text unfit for its column; None if it is fit."""
    single_line = name in _SINGLE_LINE
    limit = MAX_NAME_CHARACTERS if name in {FIRST_NAME, LAST_NAME} else MAX_VALUE_CHARACTERS
    if len(value) > limit:
        return "too_long", f"has more than {limit} characters"
    if (_BAD_IN_LINE if single_line else _BAD).search(value):
        return "control_characters", "contains line breaks, control characters or invisible characters"
    return None


def contact_of_values(
    number: int, values: dict[str, Any], declared: Declarations, normalise: Normalise, *, are_texts: bool
) -> ImportedContact | RejectedRow:
    """Return the contact that values by column make, or why the row is rejected. None of them is empty.

    Texts have passed text_problem. With `are_texts` a declared attribute is what its text stands for.
    """
    try:
        email = normalise(values.pop(EMAIL, ""))
    except ValueError as error:
        return RejectedRow(number, EMAIL, "invalid_email", str(error))
    first_name, last_name = values.pop(FIRST_NAME, ""), values.pop(LAST_NAME, "")
    locale, time_zone = values.pop(LOCALE, None), values.pop(TIME_ZONE, None)
    missing: list[str] = []
    try:
        column = LOCALE
        if locale:
            locale = _language(locale)
        column = TIME_ZONE
        if time_zone:
            time_zone = _zone(time_zone)
    except ValueError as error:
        return RejectedRow(number, column, f"invalid_{column}", str(error))
    for key, declaration in declared.items():
        value = values.get(key)
        if value is None:
            if declaration.required:
                missing.append(key)
            continue
        try:
            values[key] = (value_of_text if are_texts else stored_value)(declaration.type, value)
        except ValueError as error:
            return RejectedRow(number, key, "attribute_type", str(error))
    return ImportedContact(number, email, first_name, last_name, locale, time_zone, values, tuple(missing))


@lru_cache(maxsize=1000)
def _language(text: str) -> str:
    try:
        return language_tag(text)
    except ValueError:
        raise ValueError("is no language tag, such as pt-BR") from None


def _zone(text: str) -> str:
    if text not in _time_zones():
        raise ValueError("is not a name of the IANA time zone database")
    return text


@lru_cache(maxsize=1)
def _time_zones() -> frozenset[str]:
    return frozenset(available_timezones())
