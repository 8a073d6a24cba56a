"""Warm-up plans: a relay with a new address sends a little more each day, until its good name is made."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

MIN_GROWTH, MAX_GROWTH = 1.1, 3.0
MAX_MESSAGES = 10_000_000
# With the least growth a plan takes 170 days from one message to the most that can be asked for.
_LONGEST_DAYS = 200


@dataclass(frozen=True, slots=True)
class WarmUp:
    """How many messages of campaigns a relay sends a day: `first_day`, then `growth` times as many each day.

    Days are those of UTC. From the day on which that would be `until` or more there is no limit any more. Of a day's
    messages no recipient domain, or operator of several, gets more than `first_day_per_domain`, which grows alike.
    """

    starts_on: date
    first_day: int
    growth: float
    until: int
    first_day_per_domain: int | None = None

    def limit_on(self, day: date) -> int | None:
        """Return how many messages may go on this day: none before the start; None for as many as there are."""
        days = (day - self.starts_on).days
        if days < 0:
            return 0
        if days > _LONGEST_DAYS:
            return None
        limit = int(self.first_day * self.growth**days)
        return None if limit >= self.until else limit

    def limit_per_domain_on(self, day: date) -> int | None:
        """Return how many messages may go to each recipient domain on this day; None for as many as there are."""
        if self.first_day_per_domain is None or self.limit_on(day) is None:
            return None
        return int(self.first_day_per_domain * self.growth ** max((day - self.starts_on).days, 0))
