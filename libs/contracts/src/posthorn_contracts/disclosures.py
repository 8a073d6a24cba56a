"""What services tell one another of a contact who asks what is known of them.

`POST /internal/contacts/disclosure` of mailer and analytics: `DisclosureQuestion` → `Disclosure`.
"""

from __future__ import annotations

from typing import Any
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field


class DisclosureQuestion(BaseModel):
    """Whom it is about. `email` is the address now; a service may know others of the contact."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    organisation_id: UUID
    contact_id: UUID
    email: str


class Disclosure(BaseModel):
    """All records of a service about a contact, by kind."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    records: dict[str, list[dict[str, Any]]] = Field(description="JSON objects; an empty list: there are none.")
