"""How far a campaign is: what event streams tell."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from posthorn_analytics.domain.campaigns import FINAL, CampaignStatus
from posthorn_analytics.domain.tallies import SETTLED_OUTCOMES

_RATE_WINDOW_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class CampaignState:
    """A campaign's status and counters at one moment."""

    status: CampaignStatus | None
    status_at: datetime | None
    started: bool
    audience: int | None
    counts: Mapping[str, int]
    notice: str | None

    @property
    def settled(self) -> int:
        """Recipients whose delivery has come to an end."""
        return sum(self.counts[name] for name in SETTLED_OUTCOMES)

    def is_over(self, now: datetime, grace: timedelta) -> bool:
        """Whether nothing more will come: the campaign is final, and every recipient accounted for or waited for."""
        if self.status not in FINAL or self.status_at is None:
            return False
        if self.audience is None:
            # It could not be sent, or was cancelled before its start: there is nobody to account for.
            never_sent = self.status is CampaignStatus.CANCELLED and not self.started
            accounted = never_sent or self.status is CampaignStatus.FAILED
        else:
            accounted = self.settled == self.audience
        return accounted or now - self.status_at >= grace


class Speedometer:
    """Tells from what was seen before how fast deliveries come to an end."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, int]] = deque()

    def rate(self, at_seconds: float, settled: int) -> float:
        """Return deliveries per second over the last ten seconds; `at_seconds` is of a clock that only goes up."""
        self._seen.append((at_seconds, settled))
        while len(self._seen) > 2 and self._seen[1][0] <= at_seconds - _RATE_WINDOW_SECONDS:
            self._seen.popleft()
        then, before = self._seen[0]
        return 0.0 if at_seconds <= then else max(0.0, (settled - before) / (at_seconds - then))


def eta_seconds(state: CampaignState, rate: float) -> int | None:
    """Return how long the rest takes at this rate; None while that cannot be told."""
    if state.status is not CampaignStatus.SENDING or state.audience is None or rate <= 0:
        return None
    return max(0, round((state.audience - state.settled) / rate))
