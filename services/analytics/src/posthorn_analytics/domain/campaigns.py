"""A campaign's status as analytics hears of it."""

from __future__ import annotations

from enum import StrEnum


class CampaignStatus(StrEnum):
    """Where a campaign stands; the truth is with the campaigns service."""

    DRAFT = "draft"
    """Scheduled once, but no more."""
    SCHEDULED = "scheduled"
    SENDING = "sending"
    PAUSED = "paused"
    COMPLETED = "completed"
    COMPLETED_WITH_ERRORS = "completed_with_errors"
    CANCELLED = "cancelled"
    FAILED = "failed"


FINAL = frozenset(
    {
        CampaignStatus.COMPLETED,
        CampaignStatus.COMPLETED_WITH_ERRORS,
        CampaignStatus.CANCELLED,
        CampaignStatus.FAILED,
    }
)

PRECEDENCE = tuple(CampaignStatus)
"""Of two statuses of the very same time the later one here holds, so that the order of arrival does not matter."""
