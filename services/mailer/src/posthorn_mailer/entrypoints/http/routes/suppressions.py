"""Suppressions."""

from __future__ import annotations

import csv
import io
from collections.abc import AsyncGenerator
from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query, Response
from fastapi.responses import StreamingResponse
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from posthorn_common.addresses import InvalidAddress, normalise_address
from posthorn_common.http.fields import EmailAddress, RequestModel
from posthorn_common.http.identity import requires
from posthorn_common.http.pagination import Page, Paging, encode_cursor, invalid_cursor
from posthorn_common.http.problems import responses
from posthorn_common.tokens import Principal
from posthorn_contracts.permissions import Permission
from posthorn_mailer.app.ports_records import SuppressionFilter
from posthorn_mailer.domain.errors import SuppressionNotFound
from posthorn_mailer.domain.suppressions import Suppression, SuppressionReason
from posthorn_mailer.entrypoints.http.deps import Services

router = APIRouter(tags=["suppressions"])

MAX_ADDRESSES = 1000
_COLUMNS = ("email", "reason", "source", "created_at")
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\uff1d", "\uff0b", "\uff0d", "\uff20")  # the last four: full width

Reader = Annotated[Principal, Depends(requires(Permission.SUPPRESSIONS_READ))]
Writer = Annotated[Principal, Depends(requires(Permission.SUPPRESSIONS_WRITE))]
InPath = Annotated[str, Path(max_length=254, description="URL-encoded.")]


class SuppressionsRequest(RequestModel):
    emails: list[EmailAddress] = Field(min_length=1, max_length=MAX_ADDRESSES)
    reason: SuppressionReason = Field(
        default=SuppressionReason.MANUAL, description="Another one when a list comes from elsewhere."
    )


class SuppressionsAdded(BaseModel):
    added: int
    already_suppressed: int


class SuppressionAnswer(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    email: str
    reason: SuppressionReason
    source: str = Field(description="Where it comes from: `api`, `delivery`, `feedback`, `message`, `erased contact`.")
    created_at: AwareDatetime


def wanted(
    search: Annotated[str | None, Query(max_length=254, description="Part of the address.")] = None,
    reason: Annotated[SuppressionReason | None, Query()] = None,
) -> SuppressionFilter:
    """Return which suppressions to list."""
    return SuppressionFilter(search=search or None, reason=reason)


Wanted = Annotated[SuppressionFilter, Depends(wanted)]


@router.get("/v1/suppressions", operation_id="list_suppressions", responses=responses(400, 401, 403))
async def list_suppressions(
    caller: Reader, page: Paging, filters: Wanted, services: Services
) -> Page[SuppressionAnswer]:
    """List the addresses that are not mailed, in order of the address."""
    after: str | None = None
    if page.after is not None:
        if len(page.after) != 1 or not isinstance(page.after[0], str):
            raise invalid_cursor()
        after = page.after[0]
    found = await services.suppressing.list_suppressions(caller.organisation_id, filters, after, page.limit + 1)
    items = [SuppressionAnswer.model_validate(item) for item in found[: page.limit]]
    return Page(items=items, next_cursor=encode_cursor(items[-1].email) if len(found) > page.limit else None)


@router.post("/v1/suppressions", operation_id="add_suppressions", status_code=201, responses=responses(401, 403, 422))
async def add_suppressions(body: SuppressionsRequest, caller: Writer, services: Services) -> SuppressionsAdded:
    """Suppress addresses, up to 1,000 at a time. An address that is suppressed already keeps the stronger reason."""
    added, before = await services.suppressing.add(caller.organisation_id, body.emails, body.reason, "api")
    return SuppressionsAdded(added=added, already_suppressed=before)


@router.get(
    "/v1/suppressions.csv",
    operation_id="export_suppressions",
    response_class=Response,
    responses={200: {"content": {"text/csv": {}}}, **responses(401, 403)},
)
async def export_suppressions(caller: Reader, filters: Wanted, services: Services) -> StreamingResponse:
    """Return all suppressions as CSV."""

    async def rows() -> AsyncGenerator[bytes]:
        yield _csv([_COLUMNS])
        async for page in services.suppressing.export(caller.organisation_id, filters):
            yield _csv([_cells(item) for item in page])

    headers = {"Content-Disposition": 'attachment; filename="suppressions.csv"'}
    return StreamingResponse(rows(), media_type="text/csv; charset=utf-8", headers=headers)


@router.get("/v1/suppressions/{email}", operation_id="get_suppression", responses=responses(401, 403, 404))
async def get_suppression(email: InPath, caller: Reader, services: Services) -> SuppressionAnswer:
    """Tell why an address is not mailed; 404 if it is."""
    found = await services.suppressing.get(caller.organisation_id, _normalised(email))
    return SuppressionAnswer.model_validate(found)


@router.delete(
    "/v1/suppressions/{email}",
    operation_id="remove_suppression",
    status_code=204,
    responses=responses(401, 403, 404),
)
async def remove_suppression(email: InPath, caller: Writer, services: Services) -> None:
    """Let an address be mailed again. Contacts who have unsubscribed stay so."""
    await services.suppressing.remove(caller.organisation_id, _normalised(email))


def _normalised(email: str) -> str:
    try:
        return normalise_address(email)
    except InvalidAddress as error:
        raise SuppressionNotFound from error


def _cells(item: Suppression) -> tuple[str, ...]:
    return _safe(item.email), item.reason, item.source, item.created_at.isoformat()


def _safe(cell: str) -> str:
    """Return the text so that no spreadsheet takes it for a formula."""
    return f"'{cell}" if cell.startswith(_FORMULA_STARTS) else cell


def _csv(rows: list[tuple[str, ...]]) -> bytes:
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    return text.getvalue().encode()
