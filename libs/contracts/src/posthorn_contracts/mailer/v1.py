"""Events of the mailer service, version 1."""

from __future__ import annotations

from enum import StrEnum
from typing import ClassVar, Literal
from uuid import UUID

from pydantic import AwareDatetime, Field

from posthorn_contracts.envelope import Event, Payload
from posthorn_contracts.erasures import ErasureConfirmedData


class DeliveryOutcome(StrEnum):
    """What a delivery has become. All but `deferred` are terminal for the sending engine."""

    SENT = "sent"
    DEFERRED = "deferred"
    BOUNCED = "bounced"
    FAILED = "failed"
    SUPPRESSED = "suppressed"
    CANCELLED = "cancelled"
    AMBIGUOUS = "ambiguous"
    COMPLAINED = "complained"


class SendPlannedData(Payload):
    campaign_id: UUID
    audience: int = Field(ge=0, description="Deliveries planned: the recipients of the campaign.")


class SendPlanned(Event):
    """The audience is frozen: one delivery per recipient exists."""

    event_type: ClassVar[str] = "mailer.send.planned.v1"
    data: SendPlannedData


class DeliveryRecord(Payload):
    contact_id: UUID
    outcome: DeliveryOutcome
    previous: DeliveryOutcome | None = Field(
        default=None,
        description="Outcome told before for this delivery, so that counters can move, not only grow.",
    )
    domain: str = Field(description="Recipient domain, lower case.")
    at: AwareDatetime
    smtp_code: int | None = None
    enhanced_code: str | None = Field(default=None, description="RFC 3463 status, for instance 5.1.1.")
    cause: (
        Literal[
            "recipient",
            "domain",
            "relay",
            "content",
            "authentication",
            "policy",
            "suppressed",
            "unsubscribed",
            "erased",
        ]
        | None
    ) = Field(
        default=None,
        description="Whose fault a failure is; of `suppressed` why: the address is on the suppression list, the "
        "recipient has left, or was erased.",
    )


class DeliveriesRecordedData(Payload):
    campaign_id: UUID
    records: tuple[DeliveryRecord, ...]


class DeliveriesRecorded(Event):
    """Outcomes of many deliveries of one campaign (at most 1,000 a message)."""

    event_type: ClassVar[str] = "mailer.deliveries.recorded.v1"
    data: DeliveriesRecordedData


class SendDrainedData(Payload):
    campaign_id: UUID
    audience: int
    sent: int
    bounced: int
    failed: int
    suppressed: int
    cancelled: int
    ambiguous: int


class SendDrained(Event):
    """Every delivery of the campaign is terminal; the counts add up to the audience."""

    event_type: ClassVar[str] = "mailer.send.drained.v1"
    data: SendDrainedData


class SendImpededData(Payload):
    campaign_id: UUID
    reason: str = Field(description="For people, without addresses: `Relay main refuses connections`.")
    since: AwareDatetime


class SendImpeded(Event):
    """The campaign keeps trying but nothing gets through at present."""

    event_type: ClassVar[str] = "mailer.send.impeded.v1"
    data: SendImpededData


class SendRecoveredData(Payload):
    campaign_id: UUID


class SendRecovered(Event):
    """What impeded the campaign is over."""

    event_type: ClassVar[str] = "mailer.send.recovered.v1"
    data: SendRecoveredData


class SendGuardedData(Payload):
    campaign_id: UUID
    code: Literal["hard_bounce_rate", "complaint_rate"]
    reason: str = Field(description="For people: `31 of 250 messages have bounced, more than 10 %.`")


class SendGuarded(Event):
    """Too much bounces or annoys: the mailer has paused the campaign by itself, until a person resumes it."""

    event_type: ClassVar[str] = "mailer.send.guarded.v1"
    data: SendGuardedData


class SendFailedData(Payload):
    campaign_id: UUID
    reason: str


class SendFailed(Event):
    """The campaign cannot be sent at all, for instance because the organisation has no relay."""

    event_type: ClassVar[str] = "mailer.send.failed.v1"
    data: SendFailedData


class ContactSuppressedData(Payload):
    contact_id: UUID
    reason: Literal["hard_bounce", "complaint", "manual", "unsubscribe"]


class ContactSuppressed(Event):
    """The address of a contact is on the suppression list."""

    event_type: ClassVar[str] = "mailer.contact.suppressed.v1"
    data: ContactSuppressedData


class ErasedByMailer(Event):
    """The mailer knows nothing of a contact any more, but whom not to mail: a keyed hash."""

    event_type: ClassVar[str] = "mailer.contact.erased.v1"
    data: ErasureConfirmedData


class SuppressionsChangedData(Payload):
    change_id: UUID = Field(
        description="`GET /internal/suppression-changes/{change_id}` tells which, and how they are."
    )
    count: int = Field(ge=1, description="How many addresses and domains, at most 1,000.")


class SuppressionsChanged(Event):
    """Addresses or domains of the organisation were suppressed, or are not any more."""

    event_type: ClassVar[str] = "mailer.suppressions.changed.v1"
    data: SuppressionsChangedData


class UnsubscribeRequestedData(Payload):
    contact_id: UUID
    campaign_id: UUID = Field(description="Campaign whose message was answered.")


class UnsubscribeRequested(Event):
    """A recipient has sent the mail that the message's `List-Unsubscribe` header offers (RFC 2369)."""

    event_type: ClassVar[str] = "mailer.contact.unsubscribe-requested.v1"
    data: UnsubscribeRequestedData
