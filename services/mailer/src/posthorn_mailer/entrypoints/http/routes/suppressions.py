"""Suppressions."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import AsyncGenerator
from typing import Annotated, Literal, Self

from fastapi import APIRouter, Depends, Path, Query, Response
from fastapi.responses import StreamingResponse
from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from posthorn_common.http.fields import RequestModel
from posthorn_common.http.identity import requires
from posthorn_common.http.pagination import Page, Paging, encode_cursor, invalid_cursor
from posthorn_common.http.problems import responses
from posthorn_common.tokens import Principal
from posthorn_contracts.permissions import Permission
from posthorn_mailer.app.ports_records import SuppressionFilter
from posthorn_mailer.app.suppressing import NewSuppression, normalise_suppressed
from posthorn_mailer.domain.errors import SuppressionNotFound
from posthorn_mailer.domain.suppressions import HARD, Suppression, SuppressionReason
from posthorn_mailer.entrypoints.http.deps import Services

router = APIRouter(tags=["suppressions"])

MAX_ADDRESSES = 1000
MAX_ROWS = 10_000
_COLUMNS = ("email", "reason", "source", "created_at", "expires_at")
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\uff1d", "\uff0b", "\uff0d", "\uff20")  # the last four: full width

Reader = Annotated[Principal, Depends(requires(Permission.SUPPRESSIONS_READ))]
Writer = Annotated[Principal, Depends(requires(Permission.SUPPRESSIONS_WRITE))]


def _normal(text: str) -> str:
    try:
        return normalise_suppressed(text)
    except ValueError as error:
        raise PydanticCustomError("invalid_email", "{reason}", {"reason": str(error)}) from error


Suppressed = Annotated[
    str, Field(max_length=320, examples=["ada@example.com", "@example.org"]), AfterValidator(_normal)
]
InPath = Annotated[str, Path(max_length=254, description="URL-encoded.")]


Expiry = Annotated[
    AwareDatetime | None,
    Field(description="Mailed again from then on; null: never. Bounces and complaints do not expire."),
]


class SuppressionsRequest(RequestModel):
    emails: list[Suppressed] = Field(min_length=1, max_length=MAX_ADDRESSES)
    reason: SuppressionReason = Field(
        default=SuppressionReason.MANUAL, description="Another one when a list comes from elsewhere."
    )
    expires_at: Expiry = None

    @model_validator(mode="after")
    def _hard_reasons_are_for_good(self) -> Self:
        if self.expires_at is not None and self.reason in HARD:
            raise PydanticCustomError("hard_reason_expires", "bounces and complaints do not expire")
        return self


class SuppressionRow(RequestModel):
    email: str = Field(max_length=320, description="An address, or `@` and a domain.", examples=["@example.com"])
    reason: SuppressionReason = SuppressionReason.IMPORT
    expires_at: Expiry = None


class SuppressionRowsRequest(RequestModel):
    items: list[SuppressionRow] = Field(min_length=1, max_length=MAX_ROWS)


class SuppressionRowResult(BaseModel):
    email: str = Field(description="As it is stored; as it was sent if it is refused.")
    result: Literal["added", "already_suppressed", "refused"]
    code: str | None = Field(
        description="`invalid_email`, or `hard_reason_expires`: bounces and complaints do not expire."
    )


class SuppressionRowsAdded(BaseModel):
    added: int
    already_suppressed: int
    refused: int
    results: list[SuppressionRowResult] = Field(description="One for each row, in their order.")


class SuppressionsAdded(BaseModel):
    added: int
    already_suppressed: int


class SuppressionAnswer(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    email: str = Field(description="An address; or `@` and a domain, which stand for everybody there.")
    reason: SuppressionReason
    source: str = Field(description="Where it comes from: `api`, `delivery`, `feedback`, `message`, `erased contact`.")
    created_at: AwareDatetime
    expires_at: AwareDatetime | None = Field(description="When it may be mailed again; null: never by itself.")


def wanted(
    search: Annotated[
        str | None, Query(max_length=254, pattern=r"^[^\x00]*$", description="Part of the address.")
    ] = None,
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
    """Suppress addresses or whole domains (`@example.com`), up to 1,000 at a time.

    What is suppressed already keeps the stronger reason and the later end. Single messages are kept back by bounces and
    complaints of their very address only.
    """
    new = [NewSuppression(email, body.reason, body.expires_at) for email in set(body.emails)]
    added = await services.suppressing.add(caller.organisation_id, new, "api")
    return SuppressionsAdded(added=len(added), already_suppressed=len(new) - len(added))


@router.post("/v1/suppressions/bulk", operation_id="add_suppressions_in_bulk", responses=responses(401, 403, 422))
async def add_in_bulk(body: SuppressionRowsRequest, caller: Writer, services: Services) -> SuppressionRowsAdded:
    """Suppress up to 10,000 addresses or domains, each for its own reason; wrong rows do not stop the others."""
    judged = [_judged(row) for row in body.items]
    good = [found for found in judged if isinstance(found, NewSuppression)]
    added = set(await services.suppressing.add(caller.organisation_id, good, "api"))
    results: list[SuppressionRowResult] = []
    for found in judged:
        if isinstance(found, NewSuppression):
            is_new = found.email in added
            added.discard(found.email)
            result: Literal["added", "already_suppressed"] = "added" if is_new else "already_suppressed"
            results.append(SuppressionRowResult(email=found.email, result=result, code=None))
        else:
            results.append(found)
    counts = Counter(row.result for row in results)
    return SuppressionRowsAdded(
        added=counts["added"],
        already_suppressed=counts["already_suppressed"],
        refused=counts["refused"],
        results=results,
    )


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
        return normalise_suppressed(email)
    except ValueError as error:
        raise SuppressionNotFound from error


def _judged(row: SuppressionRow) -> NewSuppression | SuppressionRowResult:
    code = None
    try:
        email = normalise_suppressed(row.email)
    except ValueError:
        email, code = row.email, "invalid_email"
    if code is None and row.expires_at is not None and row.reason in HARD:
        code = "hard_reason_expires"
    if code is not None:
        return SuppressionRowResult(email=email, result="refused", code=code)
    return NewSuppression(email, row.reason, row.expires_at)


def _cells(item: Suppression) -> tuple[str, ...]:
    expires = item.expires_at.isoformat() if item.expires_at else ""
    return _safe(item.email), item.reason, item.source, item.created_at.isoformat(), expires


def _safe(cell: str) -> str:
    """Return the text so that no spreadsheet takes it for a formula."""
    return f"'{cell}" if cell.startswith(_FORMULA_STARTS) else cell


def _csv(rows: list[tuple[str, ...]]) -> bytes:
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    return text.getvalue().encode()
