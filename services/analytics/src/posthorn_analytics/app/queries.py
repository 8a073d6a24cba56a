"""What readers of statistics ask, and what they get."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Protocol
from uuid import UUID

from posthorn_analytics.domain.campaigns import CampaignStatus
from posthorn_analytics.domain.progress import CampaignState
from posthorn_analytics.domain.recipients import HitKind


class Interval(StrEnum):
    """How long one point of a time series is."""

    HOUR = "hour"
    DAY = "day"


@dataclass(frozen=True, slots=True)
class CampaignStatistics:
    """A campaign's numbers."""

    campaign_id: UUID
    name: str | None
    status: CampaignStatus | None
    audience: int | None
    started_at: datetime | None
    counts: Mapping[str, int]
    first_activity_at: datetime | None
    last_activity_at: datetime | None
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class LinkStatistics:
    """A link's numbers."""

    number: int
    url: str
    counts: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class DomainStatistics:
    """Numbers of a recipient domain. `volume`: how many recipients there have an outcome."""

    domain: str
    volume: int
    counts: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class TimePoint:
    """What happened in one hour or day."""

    start: datetime
    counts: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class EngagementRecord:
    """One open or click."""

    id: UUID
    contact_id: UUID
    kind: HitKind
    at: datetime
    link_number: int | None
    url: str | None
    is_machine: bool


class EngagementFilter(StrEnum):
    """Whose engagements are wanted."""

    PEOPLE = "people"
    MACHINES = "machines"
    ALL = "all"


class Statistics(Protocol):
    """Reads the rollups, within one organisation. All methods raise TransientError while the database is away."""

    async def campaign(self, organisation_id: UUID, campaign_id: UUID) -> CampaignStatistics:
        """Raises CampaignNotFound, as all methods about one campaign do."""
        ...

    async def campaigns(self, organisation_id: UUID, after: UUID | None, limit: int) -> list[CampaignStatistics]:
        """Return campaigns, the newest first."""
        ...

    async def totals(self, organisation_id: UUID, since: datetime) -> Mapping[str, int]:
        """Return what has happened in all campaigns since then, by whole hours."""
        ...

    async def state(self, organisation_id: UUID, campaign_id: UUID) -> CampaignState: ...
    async def links(
        self, organisation_id: UUID, campaign_id: UUID, after: int | None, limit: int
    ) -> list[LinkStatistics]: ...
    async def domains(
        self, organisation_id: UUID, campaign_id: UUID, after: tuple[int, str] | None, limit: int
    ) -> list[DomainStatistics]:
        """Return domains, those with most recipients first."""
        ...

    async def timeline(
        self, organisation_id: UUID, campaign_id: UUID, interval: Interval, after: datetime | None, limit: int
    ) -> list[TimePoint]:
        """Return the points of time at which something happened."""
        ...

    async def engagements(
        self,
        organisation_id: UUID,
        campaign_id: UUID,
        *,
        who: EngagementFilter,
        kind: HitKind | None,
        after: UUID | None,
        limit: int,
    ) -> list[EngagementRecord]:
        """Return single opens and clicks in the order in which they came."""
        ...


async def all_engagements(
    statistics: Statistics, organisation_id: UUID, campaign_id: UUID, *, page_size: int = 2000
) -> AsyncIterator[list[EngagementRecord]]:
    """Yield all engagements of a campaign in pages; no transaction stays open in between. Raises CampaignNotFound."""
    after: UUID | None = None
    while True:
        page = await statistics.engagements(
            organisation_id, campaign_id, who=EngagementFilter.ALL, kind=None, after=after, limit=page_size
        )
        yield page
        if len(page) < page_size:
            return
        after = page[-1].id


async def all_domains(
    statistics: Statistics, organisation_id: UUID, campaign_id: UUID, *, page_size: int = 2000
) -> AsyncIterator[list[DomainStatistics]]:
    """Yield all recipient domains of a campaign in pages. Raises CampaignNotFound."""
    after: tuple[int, str] | None = None
    while True:
        page = await statistics.domains(organisation_id, campaign_id, after, page_size)
        yield page
        if len(page) < page_size:
            return
        after = (page[-1].volume, page[-1].domain)
