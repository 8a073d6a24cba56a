"""What comes back about messages: returned mail, and events of providers."""

from __future__ import annotations

from typing import Annotated, Literal, Self
from uuid import UUID

from fastapi import APIRouter, Depends, Request
from pydantic import AwareDatetime, BaseModel, Field

from posthorn_common.http.fields import RequestModel
from posthorn_common.http.identity import requires
from posthorn_common.http.problems import ProblemError, responses
from posthorn_common.tokens import Principal
from posthorn_contracts.permissions import Permission
from posthorn_mailer.adapters.returned_mail import NotMail, read_returned_mail, read_unsubscribe_mail
from posthorn_mailer.app.taking_feedback import FeedbackResult, Taken
from posthorn_mailer.domain.feedback import Feedback, FeedbackType, parsed_reply
from posthorn_mailer.domain.replies import MAX_TEXT_CHARACTERS
from posthorn_mailer.entrypoints.http.deps import Services

router = APIRouter(tags=["inbound"])

MAX_EVENTS = 1000
# It suppresses addresses, and takes the right to do so.
Writer = Annotated[Principal, Depends(requires(Permission.SUPPRESSIONS_WRITE))]
_MAIL_BODY = {
    "requestBody": {
        "required": True,
        "description": "The mail as it came, up to 1 MiB.",
        "content": {"message/rfc822": {"schema": {"type": "string", "format": "binary"}}},
    }
}


class FeedbackAnswer(BaseModel):
    """What has come of one message."""

    result: FeedbackResult
    campaign_id: UUID | None
    contact_id: UUID | None

    @classmethod
    def of(cls, taken: Taken) -> Self:
        """Return the answer."""
        return cls(result=taken.result, campaign_id=taken.campaign_id, contact_id=taken.contact_id)


class MailAnswer(BaseModel):
    """What a returned mail has told, and what has come of it."""

    type: FeedbackType | Literal["unsubscribe"] | None = Field(
        description="null: the mail is neither a report nor an unsubscription, and is ignored."
    )
    result: FeedbackResult | None
    campaign_id: UUID | None = None
    contact_id: UUID | None = None


class InboundEvent(RequestModel):
    message_id: str = Field(
        max_length=998, description="The message's Message-ID.", examples=["<01…a.01…b@letters.example.com>"]
    )
    type: FeedbackType
    at: AwareDatetime | None = Field(default=None, description="When it happened. null: now.")
    diagnostic: str | None = Field(
        default=None,
        max_length=8 * MAX_TEXT_CHARACTERS,
        description="The reply of the recipient's server.",
        examples=["550 5.1.1 no such user"],
    )

    def feedback(self) -> Feedback:
        """Return what is told."""
        code, enhanced, text = parsed_reply(self.diagnostic or "")
        return Feedback(self.message_id, self.type, self.at, code, enhanced, text or None)


class InboundEvents(RequestModel):
    events: list[InboundEvent] = Field(min_length=1, max_length=MAX_EVENTS)


class InboundAnswer(BaseModel):
    counts: dict[FeedbackResult, int] = Field(description="How many events came to what.")
    results: list[FeedbackAnswer] = Field(description="One for each event, in their order.")


@router.post(
    "/v1/inbound/mail",
    operation_id="take_returned_mail",
    responses=responses(401, 403, 409, 413, 415, 422, 503),
    openapi_extra=_MAIL_BODY,
)
async def take_returned_mail(request: Request, caller: Writer, services: Services) -> MailAnswer:
    """Take a mail that came in: a delivery status notification (RFC 3464), abuse report (RFC 5965), unsubscription.

    The message is found by the Message-ID among the returned headers. Hard bounces make a delivery `bounced`,
    complaints `complained`, and both suppress the address where it is at fault; soft bounces are only noted. A mail
    as `List-Unsubscribe` offers it (RFC 2369) unsubscribes its recipient as the link does; automatic replies are
    ignored, as is mail of any other kind, and about messages that are not known. 409 `message_being_sent`: bring it
    again.
    """
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "message/rfc822":
        raise ProblemError(415, "unsupported_media_type", "Send the mail itself as the body, as message/rfc822.")
    try:
        raw = await request.body()
        told = read_returned_mail(raw)
        token = read_unsubscribe_mail(raw) if told is None else None
    except NotMail as error:
        raise ProblemError(422, "invalid_mail", f"The body is no mail: {error}") from error
    if told is None:
        if token is None:
            return MailAnswer(type=None, result=None)
        left = await services.taking_unsubscribes.take(caller.organisation_id, token)
        return MailAnswer(
            type="unsubscribe", result=left.result, campaign_id=left.campaign_id, contact_id=left.contact_id
        )
    (taken,) = await services.taking_feedback.take(caller.organisation_id, [told])
    if taken.result is FeedbackResult.TOO_EARLY:
        raise ProblemError(409, "message_being_sent", "The message is just being sent. Bring the mail again.")
    return MailAnswer(type=told.type, result=taken.result, campaign_id=taken.campaign_id, contact_id=taken.contact_id)


@router.post("/v1/inbound/events", operation_id="take_inbound_events", responses=responses(401, 403, 413, 422, 503))
async def take_inbound_events(body: InboundEvents, caller: Writer, services: Services) -> InboundAnswer:
    """Take up to 1,000 events of a provider about messages: bounces, complaints, deliveries. Telling twice is fine."""
    taken = await services.taking_feedback.take(caller.organisation_id, [one.feedback() for one in body.events])
    counts = dict.fromkeys(FeedbackResult, 0)
    for one in taken:
        counts[one.result] += 1
    return InboundAnswer(counts=counts, results=[FeedbackAnswer.of(one) for one in taken])
