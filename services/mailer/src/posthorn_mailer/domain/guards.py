"""Guards: a campaign that bounces or annoys too much is paused before it costs the organisation its reputation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from posthorn_mailer.domain.deliveries import DeliveryState

GuardCode = Literal["hard_bounce_rate", "complaint_rate"]
_S = DeliveryState
_TRIED = (_S.SENT, _S.BOUNCED, _S.FAILED, _S.COMPLAINED)


@dataclass(frozen=True, slots=True)
class Limits:
    """Shares from 0 to 1 that are still fine, and of how many finished deliveries on they are looked at."""

    hard_bounce_rate: float = 0.10
    hard_bounces_after: int = 200
    complaint_rate: float = 0.003
    complaints_after: int = 500


@dataclass(frozen=True, slots=True)
class Alarm:
    """A limit that is passed. `words` are for people; the guard stays silent until `rearmed_at` have finished."""

    code: GuardCode
    words: str
    rearmed_at: int


def alarm(counts: Mapping[DeliveryState, int], limits: Limits, *, armed_at: int) -> Alarm | None:
    """Return which limit these counts pass. Below `armed_at` finished deliveries a person has overruled the guard."""
    finished = sum(counts.get(state, 0) for state in _TRIED)
    if finished < armed_at:
        return None
    bounced, complained = counts.get(_S.BOUNCED, 0), counts.get(_S.COMPLAINED, 0)
    if finished >= limits.hard_bounces_after and bounced > limits.hard_bounce_rate * finished:
        words = f"{bounced} of {finished} messages have bounced, more than {_percent(limits.hard_bounce_rate)}."
        return Alarm("hard_bounce_rate", words, 2 * finished)
    if finished >= limits.complaints_after and complained > limits.complaint_rate * finished:
        words = f"{complained} of {finished} recipients have complained, more than {_percent(limits.complaint_rate)}."
        return Alarm("complaint_rate", words, 2 * finished)
    return None


def _percent(share: float) -> str:
    return f"{share * 100:g} %"
