"""Single messages: test sends and mail about accounts, each to one address."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from uuid import UUID

from posthorn_mailer.domain.deliveries import Backoff
from posthorn_mailer.domain.replies import Attempt, Outcome, classify

HORIZON = timedelta(hours=72)
"""A message that has not been taken by then is given up."""


class MessageStatus(StrEnum):
    """Where a message is."""

    PENDING = "pending"
    SENDING = "sending"
    """Opened by a worker, which holds a lease."""
    DEFERRED = "deferred"
    SENT = "sent"
    BOUNCED = "bounced"
    FAILED = "failed"
    SUPPRESSED = "suppressed"
    """Not sent: the address is known to be dead, or its owner called our mail spam."""
    AMBIGUOUS = "ambiguous"
    """Perhaps sent: the reply to the content is not known. Never sent again by itself."""


TRANSITIONS: dict[MessageStatus, frozenset[MessageStatus]] = {
    MessageStatus.PENDING: frozenset({MessageStatus.SENDING, MessageStatus.SUPPRESSED, MessageStatus.FAILED}),
    MessageStatus.DEFERRED: frozenset({MessageStatus.SENDING, MessageStatus.SUPPRESSED, MessageStatus.FAILED}),
    MessageStatus.SENDING: frozenset(
        {
            MessageStatus.SENT,
            MessageStatus.DEFERRED,
            MessageStatus.BOUNCED,
            MessageStatus.FAILED,
            MessageStatus.AMBIGUOUS,
        }
    ),
    # The worker that was thought dead may still learn the truth.
    MessageStatus.AMBIGUOUS: frozenset({MessageStatus.SENT, MessageStatus.BOUNCED, MessageStatus.FAILED}),
    MessageStatus.SENT: frozenset(),
    MessageStatus.BOUNCED: frozenset(),
    MessageStatus.FAILED: frozenset(),
    MessageStatus.SUPPRESSED: frozenset(),
}
"""The database's statements repeat these as their conditions."""


@dataclass(frozen=True, slots=True)
class Letter:
    """What is in a message."""

    to_email: str
    from_name: str | None
    from_email: str
    reply_to: str | None
    subject: str
    html: str | None
    text: str


@dataclass(frozen=True, slots=True)
class NewMessage:
    """A message to store."""

    id: UUID
    organisation_id: UUID
    idempotency_key: str
    fingerprint: bytes
    purpose: str
    relay_id: UUID | None
    letter: Letter
    created_at: datetime
    contact_id: UUID | None = None


@dataclass(frozen=True, slots=True)
class Message:
    """A message as people see it."""

    id: UUID
    organisation_id: UUID
    purpose: str
    relay_id: UUID | None
    to_email: str
    from_email: str
    subject: str
    status: MessageStatus
    attempts: int
    created_at: datetime
    next_attempt_at: datetime | None
    finished_at: datetime | None
    smtp_code: int | None
    enhanced_code: str | None
    reply: str | None
    cause: str | None


@dataclass(frozen=True, slots=True)
class OpenedMessage:
    """A message that a worker has opened. `attempts` counts this one and those before that were held against it."""

    id: UUID
    organisation_id: UUID
    letter: Letter
    created_at: datetime
    attempts: int
    expires_in_seconds: float


@dataclass(frozen=True, slots=True)
class MessageClosing:
    """What an attempt has made of a message."""

    status: MessageStatus
    attempt: Attempt
    cause: str | None
    counted: bool
    delay_seconds: float | None
    suppress: bool


def settle_message(
    opened: OpenedMessage, attempt: Attempt, backoff: Backoff, draw: Callable[[], float]
) -> MessageClosing:
    """Return what becomes of a message after an attempt: another one, as long as there is time, or its end."""
    verdict = classify(attempt)
    status, delay = MessageStatus(verdict.outcome), None
    if verdict.outcome is Outcome.DEFERRED:
        delay = backoff.pause(opened.attempts, verdict.retry_after_seconds, draw)
        if delay > opened.expires_in_seconds:
            status, delay = MessageStatus.FAILED, None
    return MessageClosing(status, attempt, verdict.cause, verdict.counts_attempt, delay, verdict.suppress)
