"""Events for the audit log, version 1. Every service publishes them; auth keeps them."""

from __future__ import annotations

from enum import StrEnum
from typing import ClassVar
from uuid import UUID

from pydantic import Field

from posthorn_contracts.envelope import Event, Payload


class ActorKind(StrEnum):
    """Who acts."""

    USER = "user"
    API_KEY = "api_key"
    SYSTEM = "system"
    """Posthorn itself: a schedule that was due, a guard."""
    UNKNOWN = "unknown"
    """Somebody who is not signed in, as with a wrong password."""


class AuditOutcome(StrEnum):
    """What came of it."""

    DONE = "done"
    REFUSED = "refused"


class ActionRecordedData(Payload):
    """Who did what to which resource, from where. It holds nothing of the content."""

    service: str
    action: str = Field(description="Operation id of the API.")
    outcome: AuditOutcome = AuditOutcome.DONE
    actor_kind: ActorKind
    actor_id: UUID | None = Field(description="A user or an API key. null: Posthorn itself, or nobody who is known.")
    resource_kind: str | None = Field(description="What kind of thing it was done to: `campaign`, for instance.")
    resource_id: UUID | None
    address: str | None = Field(description="The network address that it came from.")
    request_id: str | None


class ActionRecorded(Event):
    """Somebody has changed something; it was told in the transaction that changed it."""

    event_type: ClassVar[str] = "audit.action.recorded.v1"
    data: ActionRecordedData
