"""What happens with contacts: their timeline."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID


class ActivityKind(StrEnum):
    """What has happened with a message to a contact or with its address, or its wish to get no mail at all."""

    SENT = "sent"
    BOUNCED = "bounced"
    FAILED = "failed"
    SUPPRESSED = "suppressed"
    COMPLAINED = "complained"
    OPENED = "opened"
    CLICKED = "clicked"
    UNSUBSCRIBED_FROM_ALL = "unsubscribed_from_all"
    RESUBSCRIBED = "resubscribed"
    ADDRESS_SUPPRESSED = "address_suppressed"
    SUPPRESSION_LIFTED = "suppression_lifted"


@dataclass(frozen=True, slots=True)
class NotedActivity:
    """Something to note of a contact."""

    contact_id: UUID
    kind: ActivityKind
    at: datetime


@dataclass(frozen=True, slots=True)
class Activity:
    """Something in a timeline. `kind` is an ActivityKind or, about a list, what the contact has become to it."""

    id: UUID
    at: datetime
    kind: str
    campaign_id: UUID | None
    list_id: UUID | None
