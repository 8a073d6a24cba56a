"""A send: a campaign as the mailer knows it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID


class SendStatus(StrEnum):
    """What the campaigns service wants to happen."""

    SENDING = "sending"
    PAUSED = "paused"
    """Nothing is opened."""
    CANCELLED = "cancelled"
    """Nothing will be opened any more; what was not opened is cancelled."""
    FAILED = "failed"
    """It could not be started; `failure_reason` says why."""


class SendPhase(StrEnum):
    """What people are told about a send."""

    PLANNING = "planning"
    """Its deliveries are being written down; the first are sent already."""
    SENDING = "sending"
    PAUSED = "paused"
    CANCELLED = "cancelled"
    FAILED = "failed"
    DRAINED = "drained"
    """Every delivery is in a final state."""


_S = SendStatus
TRANSITIONS: dict[SendStatus, frozenset[SendStatus]] = {
    _S.SENDING: frozenset({_S.PAUSED, _S.CANCELLED, _S.FAILED}),
    _S.PAUSED: frozenset({_S.SENDING, _S.CANCELLED, _S.FAILED}),
    _S.CANCELLED: frozenset(),
    _S.FAILED: frozenset(),
}


def ordered_status(
    current: SendStatus, ordered: SendStatus, *, ordered_at: datetime, last_ordered_at: datetime | None
) -> SendStatus | None:
    """Return the status after an order from the campaigns service, or None where it changes nothing.

    Orders travel in separate queues and may overtake one another; the one that was given last counts. Cancelling is
    for good, so it counts whenever it arrives.
    """
    if ordered not in TRANSITIONS[current] and ordered is not current:
        return None
    overtaken = last_ordered_at is not None and ordered_at <= last_ordered_at
    if overtaken and ordered is not SendStatus.CANCELLED:
        return None
    return ordered


@dataclass(frozen=True, slots=True)
class Send:
    """A campaign to send, or being sent. Its guard looks again once `guard_armed_at` deliveries have finished."""

    id: UUID
    organisation_id: UUID
    status: SendStatus
    name: str
    relay_id: UUID | None
    on_ambiguous: str
    messages_per_second: float | None
    audience: int
    started_at: datetime | None
    planned_at: datetime | None
    drained_at: datetime | None
    impeded_since: datetime | None
    impeded_reason: str | None
    failure_reason: str | None
    closed: bool = False
    """Nothing of it is sent again: what only sending needs is gone, or going."""
    guard_armed_at: int = 0
    guard_reason: str | None = None

    @property
    def phase(self) -> SendPhase:
        """What people are told."""
        if self.status in {SendStatus.CANCELLED, SendStatus.FAILED}:
            return SendPhase(self.status)
        if self.drained_at is not None:
            return SendPhase.DRAINED
        if self.status is SendStatus.SENDING and self.planned_at is None:
            return SendPhase.PLANNING
        return SendPhase(self.status)

    @property
    def notice(self) -> str | None:
        """What stands in its way, for people."""
        guarded = self.guard_reason if self.status is SendStatus.PAUSED else None
        return self.failure_reason or guarded or self.impeded_reason
