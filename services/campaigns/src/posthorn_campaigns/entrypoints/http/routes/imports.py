"""`/v1/imports`."""

from __future__ import annotations

import csv
import io
from collections.abc import AsyncGenerator, Sequence
from email.message import Message
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter, Query, Request
from fastapi.responses import StreamingResponse
from starlette.requests import ClientDisconnect

from posthorn_campaigns.app.receiving_imports import NewImport
from posthorn_campaigns.domain.errors import ImportTooLarge
from posthorn_campaigns.domain.imports import ImportMode
from posthorn_campaigns.entrypoints.http.deps import ContactsReader, ContactsWriter, Services
from posthorn_campaigns.entrypoints.http.schemas_audience import ImportAnswer, RejectedRowAnswer
from posthorn_common.http.pagination import Page, Paging, encode_cursor, id_after, invalid_cursor
from posthorn_common.http.problems import ProblemError, responses

router = APIRouter(tags=["imports"])

# The real limit is a setting, and counted while the file comes in; this one only replaces that of other routes.
_NO_LIMIT = 2**62
_CSV_TYPES = {"text/csv", "application/csv", "application/vnd.ms-excel"}
_CSV_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "description": "The file itself; a form that holds it (`multipart/form-data`) answers 415. Its first row names "
        "the columns: `email`, which is needed, `first_name`, `last_name`; all others become attributes.",
        "content": {
            "text/csv": {"schema": {"type": "string"}, "example": "email,first_name,city\nada@example.com,Ada,Rome"}
        },
    }
}
_Delimiter = Literal[",", ";", "|", "\t", "tab"]
_ERRORS_PER_QUERY = 1000
_FORMULA_BEGINS = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")


@router.post(
    "/v1/imports",
    operation_id="import_contacts",
    status_code=202,
    responses=responses(400, 401, 403, 404, 413, 415, 422),
    openapi_extra=_CSV_BODY,
    max_body_size=_NO_LIMIT,
)
async def import_contacts(
    request: Request,
    caller: ContactsWriter,
    services: Services,
    list_id: Annotated[UUID | None, Query(description="List to put the contacts on.")] = None,
    mode: Annotated[
        ImportMode, Query(description="What happens to contacts that exist: changed, or left as they are.")
    ] = ImportMode.UPSERT,
    delimiter: Annotated[_Delimiter | None, Query(description="Detected if it is not given.")] = None,
) -> ImportAnswer:
    """Import contacts from a CSV file, in the background.

    UTF-8, UTF-16 and Windows-1252 (Latin-1) are detected; other encodings by `charset` in the content type. A row that
    is wrong is reported and the rest imported. An import never lifts an unsubscribe: contacts who are not active stay
    so, and nobody is put back on a list that they have left.
    """
    if int(request.headers.get("content-length", "0")) > services.settings.import_max_bytes:
        raise ImportTooLarge(services.settings.import_max_bytes)
    wanted = NewImport(
        list_id=list_id,
        mode=mode,
        delimiter="\t" if delimiter == "tab" else delimiter,
        charset=_charset(request.headers.get("content-type", "")),
    )
    job = await services.receiving_imports.receive(caller.organisation_id, wanted, _body(request))
    return ImportAnswer.of(job)


@router.get("/v1/imports", operation_id="list_imports", responses=responses(400, 401, 403, 422))
async def list_imports(caller: ContactsReader, page: Paging, services: Services) -> Page[ImportAnswer]:
    """List imports, newest first."""
    found = await services.receiving_imports.find(caller.organisation_id, id_after(page), page.limit + 1)
    items = [ImportAnswer.of(job) for job in found[: page.limit]]
    return Page(items=items, next_cursor=encode_cursor(items[-1].id) if len(found) > page.limit else None)


@router.get("/v1/imports/{import_id}", operation_id="get_import", responses=responses(401, 403, 404, 422))
async def get_import(import_id: UUID, caller: ContactsReader, services: Services) -> ImportAnswer:
    """Return one import and how far it has come."""
    return ImportAnswer.of(await services.receiving_imports.get(caller.organisation_id, import_id))


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
        yield _csv_lines([("row", "column", "code", "message")])
        found = first
        while found:
            yield _csv_lines([(row.row, row.column, row.code, row.message) for row in found])
            found = await receiving.rejected_rows(organisation_id, import_id, found[-1].row, _ERRORS_PER_QUERY)

    headers = {"Content-Disposition": f'attachment; filename="import-{import_id}-errors.csv"'}
    return StreamingResponse(lines(), media_type="text/csv; charset=utf-8", headers=headers)


@router.post(
    "/v1/imports/{import_id}/actions/cancel",
    operation_id="cancel_import",
    responses=responses(401, 403, 404, 409, 422),
)
async def cancel_import(import_id: UUID, caller: ContactsWriter, services: Services) -> ImportAnswer:
    """Stop an import. What has been imported stays."""
    return ImportAnswer.of(await services.receiving_imports.cancel(caller.organisation_id, import_id))


async def _body(request: Request) -> AsyncGenerator[bytes]:
    try:
        async for block in request.stream():
            yield block
    except ClientDisconnect as error:
        raise ProblemError(400, "upload_broken_off", "The file did not come in whole.") from error


def _charset(content_type: str) -> str | None:
    """Return the charset that the content type names; answers 415 if it is not CSV."""
    parsed = Message()
    parsed["content-type"] = content_type
    if not content_type or parsed.get_content_type() not in _CSV_TYPES:
        raise ProblemError(415, "unsupported_media_type", "Send the CSV file itself as the body, as text/csv.")
    return parsed.get_content_charset()


def _row_after(key: list[Any] | None) -> int:
    match key:
        case None:
            return 0
        case [int(row)] if 0 <= row < 2**63:
            return row
    raise invalid_cursor()


def _csv_lines(rows: Sequence[Sequence[object]]) -> str:
    text = io.StringIO()
    csv.writer(text).writerows([[_no_formula(cell) for cell in row] for row in rows])
    return text.getvalue()


def _no_formula(cell: object) -> object:
    """Keep spreadsheets from running what somebody has put into a file (OWASP: CSV injection)."""
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(_FORMULA_BEGINS) else cell
