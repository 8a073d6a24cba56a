"""Makes events with the ids of the current request."""

from __future__ import annotations

from typing import TypeVar
from uuid import UUID

from posthorn_common.clock import Clock, new_id
from posthorn_common.context import correlation_id, traceparent
from posthorn_contracts.envelope import Event, Payload

AnyEvent = TypeVar("AnyEvent", bound=Event)


def event(kind: type[AnyEvent], subject: UUID, organisation_id: UUID, data: Payload, clock: Clock) -> AnyEvent:
    """Return an event about `subject`."""
    return kind.about(
        subject,
        id=new_id(),
        organisation_id=organisation_id,
        occurred_at=clock.now(),
        data=data,
        correlation_id=correlation_id(),
        traceparent=traceparent(),
    )
