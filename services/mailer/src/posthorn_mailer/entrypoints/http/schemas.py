"""Bodies of requests and answers about sends and deliveries."""

from __future__ import annotations

from uuid import UUID

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from posthorn_common.http.fields import RequestModel
from posthorn_mailer.app.resolving import SendView
from posthorn_mailer.domain.deliveries import Delivery, DeliveryState, Resolution
from posthorn_mailer.domain.sends import SendPhase


class DeliveryCounts(BaseModel):
    """Deliveries by state. They add up to the audience."""

    pending: int
    sending: int
    deferred: int
    sent: int
    bounced: int
    failed: int
    suppressed: int
    cancelled: int
    ambiguous: int
    complained: int


class SendAnswer(BaseModel):
    """How far the mailer is with a campaign."""

    campaign_id: UUID
    status: SendPhase
    audience: int = Field(description="Deliveries planned; final once `planned_at` is set.")
    counts: DeliveryCounts
    notice: str | None = Field(description="What stands in the way at present, for people.")
    on_ambiguous: str = Field(description="`hold`: deliveries in doubt wait for people; `resend`: they are sent again.")
    started_at: AwareDatetime | None
    planned_at: AwareDatetime | None
    drained_at: AwareDatetime | None = Field(description="When the last delivery became final.")

    @classmethod
    def of(cls, view: SendView) -> SendAnswer:
        """Return the answer for a send."""
        send = view.send
        return cls(
            campaign_id=send.id,
            status=send.phase,
            audience=send.audience,
            counts=DeliveryCounts.model_validate({state.value: count for state, count in view.counts.items()}),
            notice=send.notice,
            on_ambiguous=send.on_ambiguous,
            started_at=send.started_at,
            planned_at=send.planned_at,
            drained_at=send.drained_at,
        )


class DeliveryAnswer(BaseModel):
    """What has become of one recipient."""

    model_config = ConfigDict(from_attributes=True)

    contact_id: UUID
    email: str = Field(description="Empty when the contact was erased.")
    state: DeliveryState
    attempts: int = Field(description="Attempts that counted: outages of the relay do not.")
    smtp_code: int | None = Field(description="The relay's last reply.", examples=[250])
    enhanced_code: str | None = Field(description="RFC 3463 status.", examples=["2.0.0"])
    reply: str | None
    cause: str | None = Field(
        description="Whose fault a failure is: `recipient`, `domain`, `relay`, `content`, `authentication`, `policy`. "
        "Why a delivery was suppressed: `suppressed` (the address is on the suppression list), `unsubscribed` (the "
        "recipient has left everything, or all lists by which the campaign reached it), `erased`.",
        examples=["recipient"],
    )
    next_attempt_at: AwareDatetime | None
    opened_at: AwareDatetime | None = Field(description="When the last attempt began.")
    finished_at: AwareDatetime | None

    @classmethod
    def of(cls, delivery: Delivery) -> DeliveryAnswer:
        """Return the answer for a delivery."""
        return cls.model_validate(delivery)


class ResolveRequest(RequestModel):
    """A decision about a delivery in doubt."""

    resolution: Resolution = Field(
        alias="as",
        description="`sent` and `failed` say what is known of it; `resend` sends it again, with the same Message-ID.",
    )
