"""Contacts and lists."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from posthorn_campaigns.domain.errors import InvalidAttributes
from posthorn_campaigns.domain.opt_in import OptIn


class ContactStatus(StrEnum):
    """Whether a contact may be mailed. Only `active` ones are."""

    ACTIVE = "active"
    UNSUBSCRIBED = "unsubscribed"
    BOUNCED = "bounced"
    COMPLAINED = "complained"


REPLACES: dict[ContactStatus, frozenset[ContactStatus]] = {
    # Only by an explicit act; who has complained is never mailed again.
    ContactStatus.ACTIVE: frozenset({ContactStatus.UNSUBSCRIBED, ContactStatus.BOUNCED}),
    ContactStatus.BOUNCED: frozenset({ContactStatus.ACTIVE}),
    ContactStatus.UNSUBSCRIBED: frozenset({ContactStatus.ACTIVE, ContactStatus.BOUNCED}),
    ContactStatus.COMPLAINED: frozenset({ContactStatus.ACTIVE, ContactStatus.BOUNCED, ContactStatus.UNSUBSCRIBED}),
}
"""The statuses that each status replaces: what a person says outweighs what a server says."""

MAX_ATTRIBUTES = 200
MAX_ATTRIBUTES_BYTES = 64 * 1024
MAX_VALUE_CHARACTERS = 10_000
_MAX_DEPTH = 5
_MAX_INTEGER = 2**63 - 1
ATTRIBUTE_NAME = re.compile(r"[A-Za-z0-9_]{1,64}")
_LANGUAGE_TAG = re.compile(r"[A-Za-z]{2,3}([-_][A-Za-z0-9]{2,8}){0,4}")
_SCRIPT, _REGION = 4, 2


@dataclass(frozen=True, slots=True)
class Contact:
    """A person who may be mailed. `email` is normalised."""

    id: UUID
    organisation_id: UUID
    email: str
    first_name: str
    last_name: str
    attributes: dict[str, Any]
    status: ContactStatus
    created_at: datetime
    updated_at: datetime
    locale: str | None = None
    """A BCP 47 language tag."""
    time_zone: str | None = None
    """A name of the IANA time zone database."""

    def as_template_fields(self) -> dict[str, Any]:
        """Return what templates see as `contact`."""
        return {
            "email": self.email,
            "first_name": self.first_name,
            "last_name": self.last_name,
            "locale": self.locale,
            "time_zone": self.time_zone,
            "attributes": self.attributes,
        }


def language_tag(text: str) -> str:
    """Return a BCP 47 language tag as it is usually spelt (RFC 5646 §2.1.1). Raises ValueError for what is none."""
    if not _LANGUAGE_TAG.fullmatch(text):
        raise ValueError("not a language tag")
    first, *rest = text.replace("_", "-").split("-")
    spelt = [first.lower()]
    for part in rest:
        is_script, is_region = len(part) == _SCRIPT and part.isalpha(), len(part) == _REGION and part.isalpha()
        spelt.append(part.title() if is_script else part.upper() if is_region else part.lower())
    return "-".join(spelt)


def merged_attributes(attributes: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return the attributes with `changes` put over them; a change to None removes one."""
    merged = {**attributes, **changes}
    return {name: value for name, value in merged.items() if value is not None}


def check_attributes(attributes: Mapping[str, Any]) -> None:
    """Raise InvalidAttributes unless templates can use them and they are of a reasonable size."""
    if len(attributes) > MAX_ATTRIBUTES:
        raise InvalidAttributes(f"there may be {MAX_ATTRIBUTES} of them")
    for name, value in attributes.items():
        if not ATTRIBUTE_NAME.fullmatch(name):
            raise InvalidAttributes("names have 1 to 64 letters a-z, digits or underscores")
        try:
            _check_value(value, depth=1)
        except InvalidAttributes as error:
            raise InvalidAttributes(error.rule, name) from error
    if len(json.dumps(attributes, ensure_ascii=False).encode()) > MAX_ATTRIBUTES_BYTES:
        raise InvalidAttributes(f"they may have {MAX_ATTRIBUTES_BYTES} bytes together")


def _check_value(value: Any, depth: int) -> None:
    if depth > _MAX_DEPTH:
        raise InvalidAttributes(f"they may be nested {_MAX_DEPTH} deep")
    match value:
        case str():
            _check_text(value)
        case bool():
            pass
        case int() if abs(value) > _MAX_INTEGER:
            raise InvalidAttributes("integers have 64 bits")
        case float() if not math.isfinite(value):
            raise InvalidAttributes("numbers are finite")
        case list():
            for item in value:
                _check_value(item, depth + 1)
        case dict():
            for name, item in value.items():
                _check_text(name)
                _check_value(item, depth + 1)


def _check_text(text: str) -> None:
    if len(text) > MAX_VALUE_CHARACTERS:
        raise InvalidAttributes(f"texts have up to {MAX_VALUE_CHARACTERS} characters")
    if "\0" in text or any("\ud800" <= char <= "\udfff" for char in text):
        raise InvalidAttributes("texts hold neither NUL nor half of a surrogate pair")


@dataclass(frozen=True, slots=True)
class ContactList:
    """A named set of contacts."""

    id: UUID
    organisation_id: UUID
    name: str
    description: str
    created_at: datetime
    opt_in: OptIn = OptIn.SINGLE
    is_public: bool = False
    """Whether there is a public form, where anybody can subscribe."""
