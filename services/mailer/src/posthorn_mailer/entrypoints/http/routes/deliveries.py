"""What has become of every recipient of a campaign."""

from __future__ import annotations

import csv
import io
from collections.abc import AsyncIterator
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query
from fastapi.responses import StreamingResponse

from posthorn_common.http.pagination import Page, PageQuery, Paging, encode_cursor, invalid_cursor
from posthorn_common.http.problems import responses
from posthorn_mailer.app.resolving import DeliveryQuery
from posthorn_mailer.domain.deliveries import Delivery, DeliveryState
from posthorn_mailer.entrypoints.http.deps import DeliveryReader, Sender, Services
from posthorn_mailer.entrypoints.http.schemas import DeliveryAnswer, ResolveRequest

router = APIRouter(tags=["deliveries"])

State = Annotated[DeliveryState | None, Query(description="Only deliveries in this state.")]
Search = Annotated[str | None, Query(min_length=1, max_length=254, description="Part of the address.")]

_LARGEST_NUMBER = 2**31 - 1
_CSV_PAGE = 2000
_CSV_COLUMNS = (
    "contact_id", "email", "state", "attempts", "smtp_code", "enhanced_code", "reply", "cause", "next_attempt_at",
    "opened_at", "finished_at",
)  # fmt: skip


@router.get(
    "/v1/campaigns/{campaign_id}/deliveries",
    operation_id="list_campaign_deliveries",
    responses=responses(400, 401, 403, 404, 422),
)
async def list_campaign_deliveries(
    campaign_id: UUID,
    caller: DeliveryReader,
    services: Services,
    page: Paging,
    state: State = None,
    search: Search = None,
) -> Page[DeliveryAnswer]:
    """List a campaign's deliveries with the relay's last reply to each."""
    query = DeliveryQuery(state=state, search=search, after=_number_after(page), limit=page.limit + 1)
    found = await services.resolving.list_deliveries(caller.organisation_id, campaign_id, query)
    shown = found[: page.limit]
    cursor = encode_cursor(shown[-1].number) if len(found) > page.limit else None
    return Page(items=[DeliveryAnswer.of(delivery) for delivery in shown], next_cursor=cursor)


@router.get(
    "/v1/campaigns/{campaign_id}/deliveries.csv",
    operation_id="download_campaign_deliveries",
    response_class=StreamingResponse,
    responses={
        200: {"content": {"text/csv": {"schema": {"type": "string"}}}},
        **responses(401, 403, 404, 422),
    },
)
async def download_campaign_deliveries(
    campaign_id: UUID, caller: DeliveryReader, services: Services, state: State = None
) -> StreamingResponse:
    """Download a campaign's deliveries as CSV."""
    organisation_id = caller.organisation_id
    await services.resolving.check_send(organisation_id, campaign_id)

    async def lines() -> AsyncIterator[str]:
        yield _csv_lines([list(_CSV_COLUMNS)])
        after: int | None = None
        while True:
            query = DeliveryQuery(state=state, search=None, after=after, limit=_CSV_PAGE)
            found = await services.resolving.list_deliveries(organisation_id, campaign_id, query)
            if not found:
                return
            yield _csv_lines([_csv_row(delivery) for delivery in found])
            after = found[-1].number

    headers = {"Content-Disposition": f'attachment; filename="deliveries-{campaign_id}.csv"'}
    return StreamingResponse(lines(), media_type="text/csv; charset=utf-8", headers=headers)


@router.get(
    "/v1/campaigns/{campaign_id}/deliveries/{contact_id}",
    operation_id="get_campaign_delivery",
    responses=responses(401, 403, 404, 422),
)
async def get_campaign_delivery(
    campaign_id: UUID, contact_id: UUID, caller: DeliveryReader, services: Services
) -> DeliveryAnswer:
    """Return what has become of one recipient."""
    return DeliveryAnswer.of(await services.resolving.get_delivery(caller.organisation_id, campaign_id, contact_id))


@router.post(
    "/v1/campaigns/{campaign_id}/deliveries/{contact_id}/actions/resolve",
    operation_id="resolve_campaign_delivery",
    responses=responses(401, 403, 404, 409, 422),
)
async def resolve_campaign_delivery(
    campaign_id: UUID, contact_id: UUID, body: ResolveRequest, caller: Sender, services: Services
) -> DeliveryAnswer:
    """Decide about a delivery in doubt: it was sent, it was not, or send it again. 409 if it is in no doubt."""
    decided = await services.resolving.resolve(caller.organisation_id, campaign_id, contact_id, body.resolution)
    return DeliveryAnswer.of(decided)


def _number_after(page: PageQuery) -> int | None:
    match page.after:
        case None:
            return None
        case [int(number)] if 0 <= number <= _LARGEST_NUMBER and not isinstance(number, bool):
            return number
        case _:
            raise invalid_cursor()


def _csv_row(delivery: Delivery) -> list[str]:
    answer = DeliveryAnswer.of(delivery).model_dump(mode="json")
    return [_csv_cell(answer[name]) for name in _CSV_COLUMNS]


def _csv_cell(value: object) -> str:
    text = "" if value is None else str(value)
    # A spreadsheet would take these for formulas.
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text


def _csv_lines(rows: list[list[str]]) -> str:
    out = io.StringIO()
    csv.writer(out).writerows(rows)
    return out.getvalue()
