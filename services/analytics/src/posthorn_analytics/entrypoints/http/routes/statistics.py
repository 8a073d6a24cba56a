"""Statistics of campaigns and of the organisation."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated

from fastapi import APIRouter, Query

from posthorn_analytics.app.queries import EngagementFilter, Interval
from posthorn_analytics.domain.recipients import HitKind
from posthorn_analytics.domain.tallies import hour_of
from posthorn_analytics.entrypoints.http.deps import CampaignId, Reader, Services
from posthorn_analytics.entrypoints.http.schemas import (
    CampaignStatisticsAnswer,
    DomainStatisticsAnswer,
    EngagementAnswer,
    LinkStatisticsAnswer,
    OrganisationStatisticsAnswer,
    PeriodTotals,
    TimePointAnswer,
)
from posthorn_common.http.pagination import Page, PageQuery, Paging, encode_cursor, id_after, invalid_cursor
from posthorn_common.http.problems import responses

router = APIRouter(tags=["statistics"])

_MANY = responses(400, 401, 403, 404, 422, 503)
_BIGINT = 2**63


@router.get("/v1/statistics", operation_id="get_organisation_statistics", responses=responses(400, 401, 403, 422, 503))
async def organisation_statistics(
    caller: Reader,
    page: Paging,
    services: Services,
    days: Annotated[int, Query(ge=1, le=366, description="Length of the period that ends now.")] = 30,
) -> OrganisationStatisticsAnswer:
    """Return what has happened in the last days, and a page of the campaigns."""
    since = hour_of(services.clock.now() - timedelta(days=days))
    totals = await services.statistics.totals(caller.organisation_id, since)
    found = await services.statistics.campaigns(caller.organisation_id, id_after(page), page.limit + 1)
    items = [CampaignStatisticsAnswer.of(one) for one in found[: page.limit]]
    return OrganisationStatisticsAnswer(
        since=since,
        totals=PeriodTotals(**totals),
        items=items,
        next_cursor=encode_cursor(items[-1].campaign_id) if len(found) > page.limit else None,
    )


@router.get(
    "/v1/campaigns/{campaign_id}/statistics",
    operation_id="get_campaign_statistics",
    responses=responses(401, 403, 404, 422, 503),
)
async def campaign_statistics(campaign_id: CampaignId, caller: Reader, services: Services) -> CampaignStatisticsAnswer:
    """Return a campaign's counts and rates. They begin when it is scheduled or sent."""
    return CampaignStatisticsAnswer.of(await services.statistics.campaign(caller.organisation_id, campaign_id))


@router.get("/v1/campaigns/{campaign_id}/statistics/links", operation_id="list_link_statistics", responses=_MANY)
async def link_statistics(
    campaign_id: CampaignId, caller: Reader, page: Paging, services: Services
) -> Page[LinkStatisticsAnswer]:
    """List the campaign's links with their clicks."""
    found = await services.statistics.links(caller.organisation_id, campaign_id, _number_after(page), page.limit + 1)
    items = [LinkStatisticsAnswer.of(link) for link in found[: page.limit]]
    return Page(items=items, next_cursor=encode_cursor(items[-1].number) if len(found) > page.limit else None)


@router.get("/v1/campaigns/{campaign_id}/statistics/domains", operation_id="list_domain_statistics", responses=_MANY)
async def domain_statistics(
    campaign_id: CampaignId, caller: Reader, page: Paging, services: Services
) -> Page[DomainStatisticsAnswer]:
    """List recipient domains, those with most recipients first."""
    found = await services.statistics.domains(caller.organisation_id, campaign_id, _domain_after(page), page.limit + 1)
    shown = found[: page.limit]
    return Page(
        items=[DomainStatisticsAnswer.of(domain) for domain in shown],
        next_cursor=encode_cursor(shown[-1].volume, shown[-1].domain) if len(found) > page.limit else None,
    )


@router.get("/v1/campaigns/{campaign_id}/statistics/timeline", operation_id="get_campaign_timeline", responses=_MANY)
async def campaign_timeline(
    campaign_id: CampaignId, caller: Reader, page: Paging, services: Services, interval: Interval = Interval.HOUR
) -> Page[TimePointAnswer]:
    """Return what happened hour by hour, or day by day. Hours in which nothing happened are left out."""
    after = _time_after(page)
    found = await services.statistics.timeline(caller.organisation_id, campaign_id, interval, after, page.limit + 1)
    items = [TimePointAnswer.of(point) for point in found[: page.limit]]
    cursor = encode_cursor(items[-1].start.isoformat()) if len(found) > page.limit else None
    return Page(items=items, next_cursor=cursor)


@router.get(
    "/v1/campaigns/{campaign_id}/statistics/engagements", operation_id="list_campaign_engagements", responses=_MANY
)
async def campaign_engagements(
    campaign_id: CampaignId,
    caller: Reader,
    page: Paging,
    services: Services,
    kind: Annotated[HitKind | None, Query(description="Only opens, or only clicks.")] = None,
    by: Annotated[EngagementFilter, Query(description="Whose opens and clicks.")] = EngagementFilter.PEOPLE,
) -> Page[EngagementAnswer]:
    """List single opens and clicks in the order in which they came. They are kept for a limited time."""
    found = await services.statistics.engagements(
        caller.organisation_id, campaign_id, who=by, kind=kind, after=id_after(page), limit=page.limit + 1
    )
    items = [EngagementAnswer.of(engagement) for engagement in found[: page.limit]]
    return Page(items=items, next_cursor=encode_cursor(items[-1].id) if len(found) > page.limit else None)


def _number_after(page: PageQuery) -> int | None:
    match page.after:
        case None:
            return None
        case [int(number)] if abs(number) < 2**31:
            return number
    raise invalid_cursor()


def _domain_after(page: PageQuery) -> tuple[int, str] | None:
    match page.after:
        case None:
            return None
        case [int(volume), str(domain)] if abs(volume) < _BIGINT and "\0" not in domain:
            return volume, domain
    raise invalid_cursor()


def _time_after(page: PageQuery) -> datetime | None:
    match page.after:
        case None:
            return None
        case [str(text)]:
            try:
                at = datetime.fromisoformat(text)
            except ValueError as error:
                raise invalid_cursor() from error
            if at.tzinfo is not None and not at.utcoffset():  # ours are in UTC; others may lie outside the calendar
                return at
    raise invalid_cursor()
