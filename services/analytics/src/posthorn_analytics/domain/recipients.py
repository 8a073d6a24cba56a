"""What one recipient of a campaign did, and what that adds to the counters."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from uuid import UUID

from posthorn_analytics.domain.tallies import CampaignTally

MOST_HITS = 1_000
"""Opens and clicks of one recipient of a campaign that are stored and counted."""


class HitKind(StrEnum):
    """What a recipient can do with a message."""

    OPEN = "open"
    CLICK = "click"


@dataclass(frozen=True, slots=True)
class Hit:
    """One open or click. Its id stays the same however often it is stored."""

    id: UUID
    organisation_id: UUID
    campaign_id: UUID
    contact_id: UUID
    kind: HitKind
    at: datetime
    is_machine: bool
    link_number: int | None = None
    url: str | None = None


@dataclass(slots=True)
class Recipient:
    """A recipient of a campaign. Opens and clicks are people's; machines' are counted but make nobody a reader."""

    organisation_id: UUID
    campaign_id: UUID
    contact_id: UUID
    domain: str | None = None
    sent_at: datetime | None = None
    opens: int = 0
    clicks: int = 0
    machine_hits: int = 0
    clicked_links: list[int] = field(default_factory=list)
    first_open_at: datetime | None = None
    first_click_at: datetime | None = None
    unsubscribed_at: datetime | None = None

    def deliver(self, domain: str, at: datetime, tally: CampaignTally) -> None:
        """The message has been delivered; what was counted before the domain was known is now counted for it too."""
        if self.domain is None:
            self.domain = domain
            counters = tally.domains[domain]
            counters["unique_opens"] += int(self.opens > 0)
            counters["unique_clicks"] += int(self.clicks > 0)
            counters["unsubscribes"] += int(self.unsubscribed_at is not None)
        self.sent_at = at if self.sent_at is None else min(self.sent_at, at)

    @property
    def room(self) -> int:
        """How many more opens and clicks are counted."""
        return max(0, MOST_HITS - self.opens - self.clicks - self.machine_hits)

    def comes_too_soon(self, at: datetime, window: timedelta) -> bool:
        """Whether something at that time is sooner after the delivery than a person would be."""
        return self.sent_at is not None and at < self.sent_at + window

    def open(self, at: datetime, tally: CampaignTally, *, is_machine: bool) -> None:
        """Count an open."""
        tally.touch(at)
        if is_machine:
            self.machine_hits += 1
            tally.add("machine_opens")
            tally.add_to_hour("machine_opens", at)
            return
        tally.add("opens")
        tally.add_to_hour("opens", at)
        if self.opens == 0:
            tally.add("unique_opens", domain=self.domain)
            tally.add_to_hour("unique_opens", at)
            self.first_open_at = at
        self.opens += 1

    def click(self, number: int, at: datetime, tally: CampaignTally, *, is_machine: bool) -> None:
        """Count a click of the link with that number."""
        tally.touch(at)
        if is_machine:
            self.machine_hits += 1
            tally.add("machine_clicks")
            tally.add_to_hour("machine_clicks", at)
            tally.links[number]["machine_clicks"] += 1
            return
        tally.add("clicks")
        tally.add_to_hour("clicks", at)
        tally.links[number]["clicks"] += 1
        if self.clicks == 0:
            tally.add("unique_clicks", domain=self.domain)
            tally.add_to_hour("unique_clicks", at)
            self.first_click_at = at
        if number not in self.clicked_links:
            tally.links[number]["unique_clicks"] += 1
            self.clicked_links.append(number)
        self.clicks += 1

    def unsubscribe(self, at: datetime, tally: CampaignTally) -> None:
        """Count that the contact does not want mail any more, once, in the hour in which it was first said."""
        tally.touch(at)
        if self.unsubscribed_at is None:
            tally.add("unsubscribes", domain=self.domain)
        elif at < self.unsubscribed_at:
            tally.add_to_hour("unsubscribes", self.unsubscribed_at, -1)
        else:
            return
        tally.add_to_hour("unsubscribes", at)
        self.unsubscribed_at = at
