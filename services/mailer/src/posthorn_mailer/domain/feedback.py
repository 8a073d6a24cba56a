"""What comes back about messages that a relay has taken: bounces and complaints, by mail or from a provider."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from posthorn_mailer.domain.deliveries import DeliveryState
from posthorn_mailer.domain.replies import Attempt, Stage, Verdict, classify, one_line

_REFUSED_FOR_GOOD = 550
_REFUSED_FOR_NOW = 450
_MESSAGE_ID = re.compile(r"\s*<?([0-9a-f]{32})\.([0-9a-f]{32})@[^\s<>@]{1,255}>?\s*", re.IGNORECASE)
_REPLY = re.compile(
    r"\s*(?:smtp\s*;)?\s*(?:([45]\d\d)(?!\d)[ \-]?)?\s*(?:([45]\.\d{1,3}\.\d{1,3})(?![\d.]))?", re.IGNORECASE
)
_S = DeliveryState


class FeedbackType(StrEnum):
    """What is told about a message."""

    HARD_BOUNCE = "hard_bounce"
    """It could not be delivered, and never will be."""
    SOFT_BOUNCE = "soft_bounce"
    """It could not be delivered for now, or not in time."""
    COMPLAINT = "complaint"
    """The recipient called it spam."""
    DELIVERED = "delivered"
    """It has arrived."""


@dataclass(frozen=True, slots=True)
class Feedback:
    """What somebody tells about the message with this Message-ID. `at` is None where they do not say when."""

    message_id: str
    type: FeedbackType
    at: datetime | None = None
    code: int | None = None
    enhanced_code: str | None = None
    diagnostic: str | None = None


# Whatever comes back about a message proves that the relay had taken it. Other states stay: what is known of them is
# more certain, or they are work that a claim from outside must not end.
_AFTER: dict[FeedbackType, dict[DeliveryState, DeliveryState]] = {
    FeedbackType.HARD_BOUNCE: {_S.SENT: _S.BOUNCED, _S.AMBIGUOUS: _S.BOUNCED},
    FeedbackType.SOFT_BOUNCE: {_S.AMBIGUOUS: _S.SENT},
    FeedbackType.COMPLAINT: {_S.SENT: _S.COMPLAINED, _S.AMBIGUOUS: _S.COMPLAINED},
    FeedbackType.DELIVERED: {_S.AMBIGUOUS: _S.SENT},
}


def state_after(current: DeliveryState, told: FeedbackType) -> DeliveryState | None:
    """Return what a delivery becomes, or None where it stays as it is."""
    return _AFTER[told].get(current)


def delivery_ids(message_id: str) -> tuple[UUID, UUID] | None:
    """Return contact and campaign of a Message-ID that the mailer has made, None for any other."""
    found = _MESSAGE_ID.fullmatch(message_id)
    return None if found is None else (UUID(hex=found[1]), UUID(hex=found[2]))


def parsed_reply(text: str) -> tuple[int | None, str | None, str]:
    """Return code, enhanced code and text of a reply such as `550 5.1.1 no such user`, as far as they are there.

    A type as in RFC 3464, `smtp;`, may stand in front.
    """
    found = _REPLY.match(text)
    if found is None:
        return None, None, one_line(text)
    return int(found[1]) if found[1] else None, found[2], one_line(text[found.end() :])


def bounce_verdict(feedback: Feedback) -> Verdict:
    """Return whose fault a bounce is, by the rules for replies, and whether the address is dead.

    A hard bounce that gives no reason at all is about the address.
    """
    hard = feedback.type is FeedbackType.HARD_BOUNCE
    code = feedback.code or (_REFUSED_FOR_GOOD if hard else _REFUSED_FOR_NOW)
    enhanced = feedback.enhanced_code
    if hard and feedback.code is None and enhanced is None and not feedback.diagnostic:
        enhanced = "5.1.1"
    return classify(Attempt(Stage.RCPT, code, enhanced, feedback.diagnostic or ""))
