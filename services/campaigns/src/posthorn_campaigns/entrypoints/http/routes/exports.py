"""`/v1/exports`, and the files themselves at `/exports/{token}`, without sign-in: the token is signed and expires."""

from __future__ import annotations

from typing import Self
from uuid import UUID

from fastapi import APIRouter
from fastapi.responses import StreamingResponse
from pydantic import AwareDatetime, BaseModel, Field

from posthorn_campaigns.app.exporting import NewExport
from posthorn_campaigns.bootstrap import Container
from posthorn_campaigns.domain.exports import Export, ExportStatus
from posthorn_campaigns.domain.imports import FileKind
from posthorn_campaigns.entrypoints.http.deps import ContactsWriter, Services
from posthorn_common.http.fields import RequestModel
from posthorn_common.http.pagination import Page, Paging, encode_cursor, id_after
from posthorn_common.http.problems import responses

router = APIRouter(tags=["exports"])

_TYPES = {FileKind.CSV: "text/csv; charset=utf-8", FileKind.NDJSON: "application/x-ndjson"}


class NewExportRequest(RequestModel):
    """Without list and segment: all contacts. With both: who is on the list and in the segment."""

    format: FileKind = Field(default=FileKind.CSV, examples=["csv"])
    list_id: UUID | None = None
    segment_id: UUID | None = None


class ExportAnswer(BaseModel):
    id: UUID
    status: ExportStatus
    format: FileKind
    list_id: UUID | None
    segment_id: UUID | None
    contacts: int = Field(description="How many are written so far.")
    bytes_total: int
    error_code: str | None = Field(description="Why it failed, such as `list_not_found`.")
    created_at: AwareDatetime
    finished_at: AwareDatetime | None
    expires_at: AwareDatetime = Field(description="Export and file are deleted then.")
    download_url: str | None = Field(
        description="Gets the file for 15 minutes, without sign-in; ask for the export again to get another. Null "
        "until the export is completed."
    )

    @classmethod
    def of(cls, export: Export, services: Container) -> Self:
        """Return the answer for an export."""
        token = services.exporting.link_to(export)
        return cls(
            id=export.id,
            status=export.status,
            format=export.kind,
            list_id=export.list_id,
            segment_id=export.segment_id,
            contacts=export.contacts,
            bytes_total=export.bytes_total,
            error_code=export.failure_code,
            created_at=export.created_at,
            finished_at=export.finished_at,
            expires_at=export.expires_at,
            download_url=token and f"{services.settings.public_base}/exports/{token}",
        )


@router.post("/v1/exports", operation_id="export_contacts", status_code=202, responses=responses(401, 403, 404, 422))
async def export_contacts(body: NewExportRequest, caller: ContactsWriter, services: Services) -> ExportAnswer:
    """Export contacts to a file, in the background.

    CSV has a column for each declared attribute, and the others as JSON in the last one; a cell that a spreadsheet
    would take for a formula begins with an apostrophe. NDJSON keeps all as it is. Contacts that change meanwhile are
    written as they are when it is their turn.
    """
    wanted = NewExport(kind=body.format, list_id=body.list_id, segment_id=body.segment_id)
    return ExportAnswer.of(await services.exporting.ask(caller.organisation_id, wanted), services)


@router.get("/v1/exports", operation_id="list_exports", responses=responses(400, 401, 403, 422))
async def list_exports(caller: ContactsWriter, page: Paging, services: Services) -> Page[ExportAnswer]:
    """List exports, newest first."""
    found = await services.exporting.find(caller.organisation_id, id_after(page), page.limit + 1)
    items = [ExportAnswer.of(export, services) for export in found[: page.limit]]
    return Page(items=items, next_cursor=encode_cursor(items[-1].id) if len(found) > page.limit else None)


@router.get("/v1/exports/{export_id}", operation_id="get_export", responses=responses(401, 403, 404, 422))
async def get_export(export_id: UUID, caller: ContactsWriter, services: Services) -> ExportAnswer:
    """Return an export, how far it has come, and where its file is."""
    return ExportAnswer.of(await services.exporting.get(caller.organisation_id, export_id), services)


@router.delete(
    "/v1/exports/{export_id}", operation_id="delete_export", status_code=204, responses=responses(401, 403, 404, 422)
)
async def delete_export(export_id: UUID, caller: ContactsWriter, services: Services) -> None:
    """Delete an export and its file before it expires. Links to it answer 404."""
    await services.exporting.drop(caller.organisation_id, export_id)


@router.get(
    "/exports/{token}",
    operation_id="download_export",
    response_class=StreamingResponse,
    responses={**responses(404), 200: {"content": {"text/csv": {"schema": {"type": "string"}}}}},
)
async def download_export(token: str, services: Services) -> StreamingResponse:
    """Return the file of an export. The token is part of its `download_url`."""
    export, pieces = await services.exporting.open(token)
    headers = {
        "Content-Disposition": f'attachment; filename="contacts-{export.id}.{export.kind}"',
        "Content-Length": str(export.bytes_total),
        "Cache-Control": "no-store",
        "X-Content-Type-Options": "nosniff",
    }
    return StreamingResponse(pieces, media_type=_TYPES[export.kind], headers=headers)
