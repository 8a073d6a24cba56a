"""Events of the analytics service, version 1."""

from __future__ import annotations

from enum import StrEnum
from typing import ClassVar
from uuid import UUID

from pydantic import AwareDatetime

from posthorn_contracts.envelope import Event, Payload
from posthorn_contracts.erasures import ErasureConfirmedData


class EngagementKind(StrEnum):
    OPEN = "open"
    CLICK = "click"


class Engagement(Payload):
    contact_id: UUID
    kind: EngagementKind
    at: AwareDatetime
    link_number: int | None = None


class EngagementsRecordedData(Payload):
    campaign_id: UUID
    engagements: tuple[Engagement, ...]


class EngagementsRecorded(Event):
    """Opens and clicks of one campaign, many a message."""

    event_type: ClassVar[str] = "analytics.engagements.recorded.v1"
    data: EngagementsRecordedData


class ErasedByAnalytics(Event):
    """Analytics knows the contact under a pseudonym only that leads back to nobody."""

    event_type: ClassVar[str] = "analytics.contact.erased.v1"
    data: ErasureConfirmedData
