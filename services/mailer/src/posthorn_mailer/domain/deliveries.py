"""A delivery: one message to one recipient of a campaign, and the states it goes through."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from posthorn_mailer.domain.errors import DeliveryNotAmbiguous, InvalidTransition
from posthorn_mailer.domain.replies import Outcome, Stage, Verdict


class DeliveryState(StrEnum):
    """The states of a delivery."""

    PENDING = "pending"
    """Waits for its turn."""
    SENDING = "sending"
    """Opened by a worker: written down before MAIL FROM, so that no crash can hide it."""
    DEFERRED = "deferred"
    """Refused for now; tried again at `next_attempt_at`."""
    SENT = "sent"
    """The relay has taken it: 250 after the final dot."""
    BOUNCED = "bounced"
    """Refused for good because of the address."""
    FAILED = "failed"
    """Refused for good for another reason, or deferred too long."""
    SUPPRESSED = "suppressed"
    """Not sent: the address is on the suppression list."""
    CANCELLED = "cancelled"
    """Not sent: the campaign was cancelled or the contact erased."""
    AMBIGUOUS = "ambiguous"
    """Handed over without an answer, or opened by a worker that died: nobody knows whether it arrived."""
    COMPLAINED = "complained"
    """Sent, and reported as spam by the recipient."""


_S = DeliveryState
TRANSITIONS: dict[DeliveryState, frozenset[DeliveryState]] = {
    # Sent by a late answer, where a person has had enough of the doubt; so for failed.
    _S.PENDING: frozenset({_S.SENDING, _S.SUPPRESSED, _S.CANCELLED, _S.SENT}),
    # Back to pending when the attempt came to nothing through no fault of the recipient.
    _S.SENDING: frozenset({_S.SENT, _S.DEFERRED, _S.BOUNCED, _S.FAILED, _S.AMBIGUOUS, _S.PENDING}),
    _S.DEFERRED: frozenset({_S.SENDING, _S.SUPPRESSED, _S.CANCELLED}),
    _S.SENT: frozenset({_S.BOUNCED, _S.COMPLAINED}),
    _S.BOUNCED: frozenset(),
    # By retry-failed.
    _S.FAILED: frozenset({_S.PENDING, _S.SENT}),
    _S.SUPPRESSED: frozenset(),
    _S.CANCELLED: frozenset(),
    # By the late answer of the worker that had opened it, by a person, or by what comes back; pending is a resend.
    _S.AMBIGUOUS: frozenset({_S.SENT, _S.BOUNCED, _S.FAILED, _S.PENDING, _S.COMPLAINED}),
    _S.COMPLAINED: frozenset(),
}
OPEN = frozenset({_S.PENDING, _S.SENDING, _S.DEFERRED})
"""States in which the engine has work to do."""

REPORTED = frozenset(DeliveryState) - {_S.PENDING, _S.SENDING}
"""States that are outcomes, told to other services."""


def check_transition(current: DeliveryState, requested: DeliveryState) -> None:
    """Raise InvalidTransition unless a delivery may go from one state to the other."""
    if requested not in TRANSITIONS[current]:
        raise InvalidTransition("delivery", current, requested)


@dataclass(frozen=True, slots=True)
class Delivery:
    """A delivery as people see it."""

    send_id: UUID
    number: int
    organisation_id: UUID
    contact_id: UUID
    email: str
    state: DeliveryState
    attempts: int
    smtp_code: int | None
    enhanced_code: str | None
    reply: str | None
    cause: str | None
    next_attempt_at: datetime | None
    opened_at: datetime | None
    finished_at: datetime | None


class Resolution(StrEnum):
    """What a person decides about a delivery in doubt."""

    SENT = "sent"
    FAILED = "failed"
    RESEND = "resend"


def resolved(current: DeliveryState, resolution: Resolution) -> DeliveryState:
    """Return what a delivery in doubt becomes. Raises DeliveryNotAmbiguous if it is in no doubt."""
    if current is not DeliveryState.AMBIGUOUS:
        raise DeliveryNotAmbiguous(current)
    if resolution is Resolution.RESEND:
        return DeliveryState.PENDING
    return DeliveryState(resolution)


@dataclass(frozen=True, slots=True)
class Backoff:
    """How long to wait before the next attempt, and when to give up."""

    base_seconds: float
    cap_seconds: float

    def pause(self, attempts: int, hint_seconds: float | None, draw: Callable[[], float]) -> float:
        """Return the pause after the given number of attempts: exponential, capped, with full jitter.

        A hint of the relay counts instead, a little stretched so that not all come back at once. `draw` returns a
        random number from 0 to 1.
        """
        if hint_seconds is not None:
            return hint_seconds * (1 + 0.2 * draw())
        longest = min(self.cap_seconds, self.base_seconds * 2.0 ** min(max(attempts, 1) - 1, 32))
        # Never at once: a pause of nothing would turn a busy relay's refusals into a hot loop.
        return max(longest * draw(), self.base_seconds / 10)


@dataclass(frozen=True, slots=True)
class Settlement:
    """What an attempt makes of the delivery. `delay_seconds` is until the next attempt, if there is to be one."""

    state: DeliveryState
    counted: bool
    delay_seconds: float | None = None


_BEFORE_THE_MESSAGE = frozenset({Stage.CONNECT, Stage.TLS, Stage.AUTH})


def is_relay_fault(verdict: Verdict) -> bool:
    """Whether the attempt failed because of the relay, so that it says nothing about the recipient."""
    return (
        verdict.outcome is Outcome.DEFERRED
        and not verdict.counts_attempt
        and verdict.cause in {"relay", "authentication"}
    )


def is_outage(stage: Stage, verdict: Verdict) -> bool:
    """Whether the relay could not be used at all: not reached, no encryption, no login."""
    return is_relay_fault(verdict) and (stage in _BEFORE_THE_MESSAGE or verdict.cause == "authentication")


def settle(
    stage: Stage,
    verdict: Verdict,
    *,
    attempts: int,
    expires_in_seconds: float,
    backoff: Backoff,
    draw: Callable[[], float],
) -> Settlement:
    """Return what becomes of it. `attempts` counts this one; `expires_in_seconds` is what is left of its time."""
    if verdict.outcome is not Outcome.DEFERRED:
        return Settlement(DeliveryState(verdict.outcome), verdict.counts_attempt)
    if is_outage(stage, verdict):
        return Settlement(DeliveryState.PENDING, counted=False)
    pause = backoff.pause(attempts, verdict.retry_after_seconds, draw)
    if pause > expires_in_seconds:
        return Settlement(DeliveryState.FAILED, verdict.counts_attempt)
    return Settlement(DeliveryState.DEFERRED, verdict.counts_attempt, pause)
