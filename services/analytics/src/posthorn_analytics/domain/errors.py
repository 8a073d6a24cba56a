"""What can be wrong, each with a stable code.

AnalyticsError
├── CampaignNotFound     nothing is known of such a campaign in the caller's organisation
└── TooManyStreams       this process serves as many event streams as it may
"""

from __future__ import annotations

from typing import ClassVar


class AnalyticsError(Exception):
    """A rule of the analytics service says no."""

    code: ClassVar[str] = "analytics_error"


class CampaignNotFound(AnalyticsError):
    """There is no such campaign, or nothing has happened to it yet."""

    code = "campaign_not_found"

    def __init__(self) -> None:
        super().__init__("There are no statistics of such a campaign. They begin when it is scheduled or sent.")


class TooManyStreams(AnalyticsError):
    """The process serves as many event streams as it may."""

    code = "too_many_streams"

    def __init__(self) -> None:
        super().__init__("Too many event streams are open. Try again, or poll the statistics.")
