"""Bodies of answers."""

from __future__ import annotations

from typing import Any, Self
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from posthorn_analytics.app.queries import (
    CampaignStatistics,
    DomainStatistics,
    EngagementRecord,
    LinkStatistics,
    TimePoint,
)
from posthorn_analytics.app.watching import Progress
from posthorn_analytics.domain.campaigns import CampaignStatus
from posthorn_analytics.domain.rates import rates_of
from posthorn_analytics.domain.recipients import HitKind


class Answer(BaseModel):
    """Read from the domain's objects."""

    model_config = ConfigDict(from_attributes=True)


class OutcomeCounts(Answer):
    """Each recipient is in at most one of these. When all are in a final one they add up to the audience."""

    sent: int = Field(description="Taken by the relay, and neither bounced nor complained about since.")
    deferred: int = Field(description="Put off by the receiving side; tried again later. Not final.")
    bounced: int = Field(description="Refused by the receiving side for good, at once or by a later bounce.")
    failed: int = Field(description="Given up for another reason; may be retried.")
    suppressed: int = Field(description="Not tried: on the suppression list or unsubscribed.")
    cancelled: int = Field(description="Not tried: the campaign was cancelled before.")
    ambiguous: int = Field(description="May have been taken by the relay; the connection broke before its reply.")
    complained: int = Field(description="Delivered and then reported as spam.")


class EngagementCounts(Answer):
    """People's opens and clicks; those of machines (scanners, previews, privacy proxies) are counted apart.

    At most 1,000 opens and clicks of one recipient of a campaign are counted.
    """

    opens: int
    unique_opens: int = Field(description="Recipients with at least one open.")
    clicks: int
    unique_clicks: int = Field(description="Recipients with at least one click. A click does not count as an open.")
    machine_opens: int
    machine_clicks: int
    unsubscribes: int = Field(description="Recipients who unsubscribed through a link of this campaign.")


class RatesAnswer(Answer):
    """Fractions. `delivered` = sent + complained; `tried` = delivered + bounced + failed + ambiguous; 0 of 0 is 0."""

    delivery: float = Field(description="delivered / tried")
    bounce: float = Field(description="bounced / tried")
    open: float = Field(description="unique_opens / delivered")
    click: float = Field(description="unique_clicks / delivered")
    click_to_open: float = Field(
        description="unique_clicks / unique_opens; above 1 when readers whose mail program loads no images click."
    )
    unsubscribe: float = Field(description="unsubscribes / delivered")
    complaint: float = Field(description="complained / delivered")


class CampaignStatisticsAnswer(OutcomeCounts, EngagementCounts):
    campaign_id: UUID
    name: str | None = Field(description="null while only deliveries are known, for a moment.")
    status: CampaignStatus | None = Field(
        description="The newest status that analytics has heard of; null until the campaign is scheduled."
    )
    audience: int = Field(description="Recipients of the campaign; 0 until the sending is planned.")
    rates: RatesAnswer
    started_at: AwareDatetime | None
    first_activity_at: AwareDatetime | None = Field(description="The first outcome, open, click or unsubscribe.")
    last_activity_at: AwareDatetime | None
    updated_at: AwareDatetime

    @classmethod
    def of(cls, found: CampaignStatistics) -> Self:
        """Return the answer for a campaign."""
        return cls(
            campaign_id=found.campaign_id,
            name=found.name,
            status=found.status,
            audience=found.audience or 0,
            rates=RatesAnswer.model_validate(rates_of(found.counts)),
            started_at=found.started_at,
            first_activity_at=found.first_activity_at,
            last_activity_at=found.last_activity_at,
            updated_at=found.updated_at,
            **found.counts,
        )


class LinkStatisticsAnswer(BaseModel):
    number: int = Field(description="The link's number in the campaign's own link table.")
    url: str
    clicks: int
    unique_clicks: int = Field(description="Recipients with at least one click of this link.")
    machine_clicks: int

    @classmethod
    def of(cls, found: LinkStatistics) -> Self:
        """Return the answer for a link."""
        return cls(number=found.number, url=found.url, **found.counts)


class DomainStatisticsAnswer(OutcomeCounts):
    domain: str
    unique_opens: int
    unique_clicks: int
    unsubscribes: int

    @classmethod
    def of(cls, found: DomainStatistics) -> Self:
        """Return the answer for a recipient domain."""
        return cls(domain=found.domain, **found.counts)


class TimePointAnswer(EngagementCounts):
    """What happened in one hour or day. A bounce that comes later does not take its delivery out of `sent` here."""

    start: AwareDatetime = Field(description="The beginning of the hour or day, in UTC.")
    sent: int
    deferred: int
    bounced: int
    failed: int
    complained: int

    @classmethod
    def of(cls, found: TimePoint) -> Self:
        """Return the answer for a point in time."""
        return cls(start=found.start, **found.counts)


class EngagementAnswer(Answer):
    id: UUID
    contact_id: UUID = Field(description="A pseudonym that belongs to nobody if the contact was erased.")
    kind: HitKind
    at: AwareDatetime
    link_number: int | None
    url: str | None
    is_machine: bool

    @classmethod
    def of(cls, found: EngagementRecord) -> Self:
        """Return the answer for an open or click."""
        return cls.model_validate(found)


class PeriodTotals(EngagementCounts):
    sent: int
    deferred: int
    bounced: int
    failed: int
    complained: int


class OrganisationStatisticsAnswer(BaseModel):
    """All campaigns of the organisation: what has happened in a period, and a page of the campaigns."""

    since: AwareDatetime
    totals: PeriodTotals = Field(description="What has happened since then, in whole hours, whenever it was sent.")
    items: list[CampaignStatisticsAnswer] = Field(description="Campaigns, the newest first.")
    next_cursor: str | None = Field(description="Give it back as `cursor` to get the next page.")


class ProgressAnswer(BaseModel):
    """The data of an event `progress`."""

    status: CampaignStatus | None
    audience: int = Field(description="0 until the sending is planned.")
    sent: int
    bounced: int
    failed: int
    suppressed: int
    cancelled: int
    ambiguous: int
    complained: int
    deferred: int
    unique_opens: int
    unique_clicks: int
    rate_per_second: float = Field(description="Recipients that came to a final outcome, over the last ten seconds.")
    eta_seconds: int | None = Field(description="How long the rest takes at this rate; null while that is not known.")
    notice: str | None = Field(description="What keeps the campaign from being sent at present, for people.")

    @classmethod
    def of(cls, progress: Progress) -> Self:
        """Return the data for a moment."""
        state = progress.state
        values: dict[str, Any] = {**state.counts}
        return cls(
            status=state.status,
            audience=state.audience or 0,
            rate_per_second=progress.rate_per_second,
            eta_seconds=progress.eta_seconds,
            notice=state.notice,
            **values,
        )
