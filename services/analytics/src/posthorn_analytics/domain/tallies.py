"""What is to be added to the counters: per campaign, hour, link and recipient domain."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from datetime import UTC, datetime
from uuid import UUID

OUTCOMES = ("sent", "deferred", "bounced", "failed", "suppressed", "cancelled", "ambiguous", "complained")
"""States of a delivery; each recipient of a campaign is counted in at most one."""

SETTLED_OUTCOMES = tuple(name for name in OUTCOMES if name != "deferred")

ENGAGEMENTS = ("opens", "unique_opens", "clicks", "unique_clicks", "machine_opens", "machine_clicks", "unsubscribes")

Amounts = dict[str, int]


def _amounts() -> defaultdict[str, int]:
    return defaultdict(int)


@dataclass
class CampaignTally:
    """What is to be added for one campaign. Amounts may be negative: a bounce moves a delivery out of `sent`."""

    organisation_id: UUID
    campaign_id: UUID
    totals: defaultdict[str, int] = field(default_factory=_amounts)
    hours: defaultdict[datetime, Amounts] = field(default_factory=lambda: defaultdict(_amounts))
    links: defaultdict[int, Amounts] = field(default_factory=lambda: defaultdict(_amounts))
    domains: defaultdict[str, Amounts] = field(default_factory=lambda: defaultdict(_amounts))
    link_urls: dict[int, str] = field(default_factory=dict)
    first_at: datetime | None = None
    last_at: datetime | None = None

    def add(self, name: str, amount: int = 1, *, domain: str | None = None) -> None:
        """Add to the campaign's counter, and to the domain's if it is known."""
        self.totals[name] += amount
        if domain is not None:
            self.domains[domain][name] += amount

    def add_to_hour(self, name: str, at: datetime, amount: int = 1) -> None:
        """Add to the counter of the hour that `at` lies in."""
        self.hours[hour_of(at)][name] += amount

    def touch(self, at: datetime) -> None:
        """Something happened at that time."""
        self.first_at = at if self.first_at is None else min(self.first_at, at)
        self.last_at = at if self.last_at is None else max(self.last_at, at)


class Tally:
    """Tallies of several campaigns."""

    def __init__(self) -> None:
        self._campaigns: dict[UUID, CampaignTally] = {}

    def of(self, organisation_id: UUID, campaign_id: UUID) -> CampaignTally:
        """Return the campaign's tally."""
        return self._campaigns.setdefault(campaign_id, CampaignTally(organisation_id, campaign_id))

    @property
    def campaigns(self) -> list[CampaignTally]:
        """All tallies, in order of the campaigns' ids: whoever writes them locks rows in one order."""
        return [self._campaigns[id_] for id_ in sorted(self._campaigns)]


def hour_of(at: datetime) -> datetime:
    """Return the beginning of the hour, in UTC."""
    return at.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
