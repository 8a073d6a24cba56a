"""Who did what."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Query
from fastapi.responses import StreamingResponse
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from posthorn_auth.app.audit_log import AuditEntry, AuditFilter, Place
from posthorn_auth.entrypoints.http.deps import Services
from posthorn_common.http.csv_rows import csv_response
from posthorn_common.http.identity import requires
from posthorn_common.http.pagination import Page, PageQuery, Paging, encode_cursor, invalid_cursor
from posthorn_common.http.problems import responses
from posthorn_common.tokens import Principal
from posthorn_contracts.audit.v1 import ActorKind, AuditOutcome
from posthorn_contracts.permissions import Permission

router = APIRouter(tags=["audit log"])

Reader = Annotated[Principal, Depends(requires(Permission.AUDIT_READ))]
_Word = Annotated[str | None, Query(min_length=1, max_length=100)]
_COLUMNS = (
    "at", "service", "action", "outcome", "actor_kind", "actor_id", "actor_name", "resource_kind", "resource_id",
    "address", "request_id",
)  # fmt: skip


class AuditEntryAnswer(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    id: UUID
    at: AwareDatetime
    service: str = Field(examples=["campaigns"])
    action: str = Field(description="Operation id of this API.", examples=["pause_campaign"])
    outcome: AuditOutcome
    actor_kind: ActorKind
    actor_id: UUID | None = Field(description="A user or an API key. null: Posthorn itself, or nobody who is known.")
    actor_name: str | None = Field(description="The name that the user or API key has today.")
    resource_kind: str | None = Field(examples=["campaign"])
    resource_id: UUID | None
    address: str | None = Field(description="The network address that it came from.", examples=["192.0.2.7"])
    request_id: str | None


def _filter(
    actor_id: UUID | None = None,
    action: _Word = None,
    service: _Word = None,
    resource_kind: _Word = None,
    resource_id: UUID | None = None,
    since: Annotated[AwareDatetime | None, Query(description="This time or later.")] = None,
    until: Annotated[AwareDatetime | None, Query(description="Before this time.")] = None,
) -> AuditFilter:
    return AuditFilter(actor_id, action, service, resource_kind, resource_id, since, until)


Wanted = Annotated[AuditFilter, Depends(_filter)]


@router.get("/v1/audit-log", operation_id="list_audit_entries", responses=responses(400, 401, 403))
async def list_audit_entries(
    caller: Reader, page: Paging, wanted: Wanted, services: Services
) -> Page[AuditEntryAnswer]:
    """List who changed what in the organisation, newest first. Entries appear about a second after the change."""
    found = await services.audit_log.page(caller.organisation_id, wanted, _place_after(page), page.limit + 1)
    items = [AuditEntryAnswer.model_validate(entry) for entry in found[: page.limit]]
    more = len(found) > page.limit
    return Page(items=items, next_cursor=encode_cursor(items[-1].at, items[-1].id) if more else None)


@router.get(
    "/v1/audit-log.csv",
    operation_id="export_audit_log",
    response_class=StreamingResponse,
    responses={200: {"content": {"text/csv": {}}}, **responses(401, 403)},
)
async def export_audit_log(caller: Reader, wanted: Wanted, services: Services) -> StreamingResponse:
    """Return the audit log as CSV, newest first."""
    pages = services.audit_log.all(caller.organisation_id, wanted)
    first = await anext(pages)
    return csv_response("audit-log.csv", _COLUMNS, first, pages, _row)


def _row(entry: AuditEntry) -> tuple[object, ...]:
    values = (getattr(entry, name) for name in _COLUMNS[1:])
    return (entry.at.isoformat(), *("" if value is None else value for value in values))


def _place_after(page: PageQuery) -> Place | None:
    if page.after is None:
        return None
    try:
        at, id_ = page.after
        place = datetime.fromisoformat(at), UUID(id_)
    except (ValueError, TypeError, AttributeError) as error:
        raise invalid_cursor() from error
    if place[0].tzinfo is None:
        raise invalid_cursor()
    return place
