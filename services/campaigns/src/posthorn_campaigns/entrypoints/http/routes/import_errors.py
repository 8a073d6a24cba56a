"""`/v1/imports/{import_id}/errors`: the rows that were not imported."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any
from uuid import UUID

from fastapi import APIRouter
from fastapi.responses import StreamingResponse

from posthorn_campaigns.domain.csv_writing import csv_lines
from posthorn_campaigns.entrypoints.http.deps import ContactsReader, Services
from posthorn_campaigns.entrypoints.http.schemas_imports import RejectedRowAnswer
from posthorn_common.http.pagination import Page, Paging, encode_cursor, invalid_cursor
from posthorn_common.http.problems import responses

router = APIRouter(tags=["imports"])

_ERRORS_PER_QUERY = 1000


@router.get(
    "/v1/imports/{import_id}/errors", operation_id="list_import_errors", responses=responses(400, 401, 403, 404, 422)
)
async def list_import_errors(
    import_id: UUID, caller: ContactsReader, page: Paging, services: Services
) -> Page[RejectedRowAnswer]:
    """List the rows that were not imported, in the order of the file. The first 10,000 are kept; all are counted."""
    found = await services.receiving_imports.rejected_rows(
        caller.organisation_id, import_id, _row_after(page.after), page.limit + 1
    )
    items = [RejectedRowAnswer.model_validate(row) for row in found[: page.limit]]
    return Page(items=items, next_cursor=encode_cursor(items[-1].row) if len(found) > page.limit else None)


@router.get(
    "/v1/imports/{import_id}/errors.csv",
    operation_id="download_import_errors",
    response_class=StreamingResponse,
    responses={**responses(401, 403, 404, 422), 200: {"content": {"text/csv": {"schema": {"type": "string"}}}}},
)
async def download_import_errors(import_id: UUID, caller: ContactsReader, services: Services) -> StreamingResponse:
    """Return the rows that were not imported as a CSV file."""
    receiving = services.receiving_imports
    organisation_id = caller.organisation_id
    first = await receiving.rejected_rows(organisation_id, import_id, 0, _ERRORS_PER_QUERY)

    async def lines() -> AsyncGenerator[str]:
        yield csv_lines([("row", "column", "code", "message")])
        found = first
        while found:
            yield csv_lines([(row.row, row.column, row.code, row.message) for row in found])
            found = await receiving.rejected_rows(organisation_id, import_id, found[-1].row, _ERRORS_PER_QUERY)

    headers = {"Content-Disposition": f'attachment; filename="import-{import_id}-errors.csv"'}
    return StreamingResponse(lines(), media_type="text/csv; charset=utf-8", headers=headers)


def _row_after(key: list[Any] | None) -> int:
    match key:
        case None:
            return 0
        case [int(row)] if 0 <= row < 2**63:
            return row
    raise invalid_cursor()
