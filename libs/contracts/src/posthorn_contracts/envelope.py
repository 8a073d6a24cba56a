"""The envelope every event travels in, and the registry of all event types."""

from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar, Self
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field


class Payload(BaseModel):
    """Facts of an event. Frozen; unknown fields are ignored so that producers may add some."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class Event(BaseModel):
    """Something that happened, stated by the service that owns the fact.

    `type` is also the routing key: `<service>.<aggregate>.<past-tense>.v<major>`. `id` is a UUIDv7 that stays the
    same however often the event is published; consumers deduplicate on it. E-mail addresses never travel in events.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    event_type: ClassVar[str]
    is_for_others: ClassVar[bool] = False
    """Whether no service of Posthorn listens: such an event is stored only for queues that somebody has bound."""

    id: UUID
    type: str
    source: str
    subject: str = Field(description="Id of the aggregate that the event is about.")
    organisation_id: UUID
    occurred_at: AwareDatetime
    correlation_id: str | None = None
    causation_id: UUID | None = None
    traceparent: str | None = None

    @classmethod
    def about(
        cls,
        subject: UUID,
        *,
        id: UUID,  # noqa: A002  the envelope's own word
        organisation_id: UUID,
        occurred_at: datetime,
        data: Payload,
        correlation_id: str | None = None,
        causation_id: UUID | None = None,
        traceparent: str | None = None,
    ) -> Self:
        """Build this event; type and source follow from the class."""
        return cls.model_validate(
            {
                "id": id,
                "type": cls.event_type,
                "source": cls.event_type.partition(".")[0],
                "subject": str(subject),
                "organisation_id": organisation_id,
                "occurred_at": occurred_at,
                "correlation_id": correlation_id,
                "causation_id": causation_id,
                "traceparent": traceparent,
                "data": data,
            }
        )

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        super().__pydantic_init_subclass__(**kwargs)
        other = EVENTS.setdefault(cls.event_type, cls)
        if other.__qualname__ != cls.__qualname__:
            raise TypeError(f"event type {cls.event_type} belongs to {other.__qualname__}")


EVENTS: dict[str, type[Event]] = {}
"""All event classes by type; filled when the modules of `posthorn_contracts.registry` are imported."""
