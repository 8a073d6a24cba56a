"""Statistics as CSV files, streamed."""

from __future__ import annotations

from fastapi import APIRouter
from fastapi.responses import StreamingResponse

from posthorn_analytics.app.queries import DomainStatistics, EngagementRecord, all_domains, all_engagements
from posthorn_analytics.entrypoints.http.deps import CampaignId, Reader, Services
from posthorn_common.http.csv_rows import csv_response
from posthorn_common.http.problems import responses

router = APIRouter(tags=["statistics"])

_CSV = {200: {"content": {"text/csv": {}}}, **responses(401, 403, 404, 422, 503)}
_ENGAGEMENT_COLUMNS = ("at", "kind", "contact_id", "link_number", "url", "is_machine")
_DOMAIN_COLUMNS = (
    "domain", "sent", "deferred", "bounced", "failed", "suppressed", "cancelled", "ambiguous", "complained",
    "unique_opens", "unique_clicks", "unsubscribes",
)  # fmt: skip


@router.get(
    "/v1/campaigns/{campaign_id}/statistics/engagements.csv",
    operation_id="export_campaign_engagements",
    response_class=StreamingResponse,
    responses=_CSV,
)
async def export_engagements(campaign_id: CampaignId, caller: Reader, services: Services) -> StreamingResponse:
    """Return all opens and clicks of a campaign, machines' too, as CSV."""
    pages = all_engagements(services.statistics, caller.organisation_id, campaign_id)
    first = await anext(pages)
    return csv_response(f"engagements-{campaign_id}.csv", _ENGAGEMENT_COLUMNS, first, pages, _engagement_row)


@router.get(
    "/v1/campaigns/{campaign_id}/statistics/domains.csv",
    operation_id="export_domain_statistics",
    response_class=StreamingResponse,
    responses=_CSV,
)
async def export_domains(campaign_id: CampaignId, caller: Reader, services: Services) -> StreamingResponse:
    """Return a campaign's numbers by recipient domain as CSV."""
    pages = all_domains(services.statistics, caller.organisation_id, campaign_id)
    first = await anext(pages)
    return csv_response(f"domains-{campaign_id}.csv", _DOMAIN_COLUMNS, first, pages, _domain_row)


def _engagement_row(found: EngagementRecord) -> tuple[object, ...]:
    number = "" if found.link_number is None else found.link_number
    is_machine = "yes" if found.is_machine else "no"
    return (found.at.isoformat(), found.kind.value, found.contact_id, number, found.url or "", is_machine)


def _domain_row(found: DomainStatistics) -> tuple[object, ...]:
    return (found.domain, *(found.counts[name] for name in _DOMAIN_COLUMNS[1:]))
