"""Suppressions: addresses that are not mailed, and why."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID


class SuppressionReason(StrEnum):
    """Why an address is suppressed, strongest first: a stronger reason replaces a weaker one."""

    COMPLAINT = "complaint"
    """The recipient called a message spam."""
    HARD_BOUNCE = "hard_bounce"
    """The address does not exist, or does not any more."""
    MANUAL = "manual"
    """Somebody of the organisation said so."""
    IMPORT = "import"
    """It was on a list that came from elsewhere."""
    UNSUBSCRIBE = "unsubscribe"
    """The recipient does not want campaigns. Single messages, such as a password reset, still go out."""


HARD = frozenset({SuppressionReason.COMPLAINT, SuppressionReason.HARD_BOUNCE})
"""What does not pass with time. It is also what keeps single messages back."""


@dataclass(frozen=True, slots=True)
class Suppression:
    """An address that the organisation does not mail; `@` and a domain stand for everybody there."""

    organisation_id: UUID
    email: str
    reason: SuppressionReason
    contact_id: UUID | None
    source: str
    created_at: datetime
    expires_at: datetime | None = None
    """When the address may be mailed again; None: never by itself."""


@dataclass(frozen=True, slots=True)
class SuppressionState:
    """How an address or domain is at present; without a reason it is not suppressed."""

    email: str
    reason: SuppressionReason | None
    since: datetime | None
    expires_at: datetime | None
