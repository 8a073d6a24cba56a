"""Templates and their versions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

CONTACT = "contact"
ATTRIBUTES = "contact.attributes"
CONTACT_FIELDS = ("email", "first_name", "last_name", "locale", "time_zone", "attributes")
UNSUBSCRIBE_URL = "unsubscribe_url"
CAMPAIGN_NAME = "campaign.name"


@dataclass(frozen=True, slots=True)
class TemplateSource:
    """What somebody has written: MiniJinja sources. Without `text` it is made from the HTML."""

    subject: str
    html: str
    text: str | None = None


@dataclass(frozen=True, slots=True)
class StoredTemplate:
    """A template in its newest version. Versions never change: campaigns pin one."""

    id: UUID
    organisation_id: UUID
    name: str
    version: int
    version_id: UUID
    source: TemplateSource
    merge_fields: tuple[str, ...]
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class RenderedMessage:
    """A template rendered for somebody. `warnings` says which fields were empty or are unknown."""

    subject: str
    html: str
    text: str
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Link:
    """A link of a campaign's own link table."""

    number: int
    url: str


@dataclass(frozen=True, slots=True)
class MessageContent:
    """A template made ready for sending: sources that need only a recipient. `fields` names what they use."""

    subject: str
    html: str
    text: str
    links: tuple[Link, ...]
    fields: tuple[str, ...]


def sample_contact(attributes: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return whom templates are tried with when no real contact is given."""
    return {
        "email": "ada.lovelace@example.com",
        "first_name": "Ada",
        "last_name": "Lovelace",
        "locale": "en-GB",
        "time_zone": "Europe/London",
        "attributes": dict(attributes or {}),
    }


def merge_fields_of(contact: Mapping[str, Any], fields: Iterable[str]) -> dict[str, Any]:
    """Return the part of a contact that a template uses, for instance `contact.first_name`."""
    return MergeFields(fields).of(contact)


class MergeFields:
    """What a template uses of contacts, worked out once for many of them.

    A template that uses `contact` or `contact.attributes` as a whole gets the whole.
    """

    def __init__(self, fields: Iterable[str]) -> None:
        wanted = set(fields)
        self._everything = CONTACT in wanted
        below_contact = [field.split(".")[1:] for field in wanted if field.startswith(f"{CONTACT}.")]
        whole = ATTRIBUTES in wanted
        self._names = tuple({path[0] for path in below_contact if path[0] != "attributes" or whole})
        self._attributes = tuple(
            {path[1] for path in below_contact if path[0] == "attributes" and len(path) > 1 and not whole}
        )

    def of(self, contact: Mapping[str, Any]) -> dict[str, Any]:
        """Return the part of a contact."""
        if self._everything:
            return dict(contact)
        chosen = {name: contact[name] for name in self._names if name in contact}
        if self._attributes:
            known = contact["attributes"]
            attributes = {name: known[name] for name in self._attributes if name in known}
            if attributes:
                chosen["attributes"] = attributes
        return chosen


def warnings_about(fields: Iterable[str], contact: Mapping[str, Any]) -> tuple[str, ...]:
    """Return what will surprise the author: fields that nobody has, and fields that this contact does not have."""
    found: list[str] = []
    for field in sorted(set(fields)):
        root, *path = field.split(".")
        if field in {UNSUBSCRIBE_URL, CAMPAIGN_NAME, CONTACT, ATTRIBUTES}:
            continue
        if root != CONTACT or path[0] not in CONTACT_FIELDS:
            known = f"; there is contact.{field}" if field in CONTACT_FIELDS else ""
            found.append(f"{field} is not a field that templates have{known}.")
        elif _value(contact, path) in (None, ""):
            found.append(f"{field} is empty for this contact.")
    return tuple(found)


def _value(contact: Mapping[str, Any], path: list[str]) -> Any:
    value: Any = contact
    for name in path:
        if not isinstance(value, Mapping):
            return None
        value = value.get(name)
    return value
