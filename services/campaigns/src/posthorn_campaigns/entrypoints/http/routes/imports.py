"""`/v1/imports`."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, AsyncIterator
from email.message import Message
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import StreamingResponse
from fastapi.sse import format_sse_event
from pydantic import Field, StringConstraints, TypeAdapter, ValidationError
from starlette.requests import ClientDisconnect

from posthorn_campaigns.app.receiving_imports import GivenFile, NewImport
from posthorn_campaigns.domain.errors import ImportTooLarge
from posthorn_campaigns.domain.imports import OPEN, FileKind, Import, ImportMode
from posthorn_campaigns.entrypoints.http.deps import ContactsReader, ContactsWriter, Services
from posthorn_campaigns.entrypoints.http.schemas_imports import ImportAnswer, ImportPreview
from posthorn_common.http.identity import requires
from posthorn_common.http.pagination import Page, Paging, encode_cursor, id_after
from posthorn_common.http.problems import ProblemError, responses
from posthorn_contracts.permissions import Permission

router = APIRouter(tags=["imports"])

# The real limit is a setting, and counted while the file comes in; this one only replaces that of other routes.
_NO_LIMIT = 2**62
_KINDS = {
    "text/csv": FileKind.CSV,
    "application/csv": FileKind.CSV,
    "application/vnd.ms-excel": FileKind.CSV,
    "application/x-ndjson": FileKind.NDJSON,
    "application/ndjson": FileKind.NDJSON,
    "application/jsonl": FileKind.NDJSON,
    "application/gzip": None,
    "application/x-gzip": None,
}
_CSV_EXAMPLE = "email,first_name,city\nada@example.com,Ada,Rome"
_NDJSON_EXAMPLE = '{"email": "ada@example.com", "first_name": "Ada", "attributes": {"city": "Rome", "visits": 3}}'
_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "description": "The file itself, also packed by gzip; no form that holds it (`multipart/form-data`). "
        "CSV: the first row names the columns: `email`, which is needed, `first_name`, `last_name`; all others become "
        "attributes. NDJSON: one object per line, with members of the same names; the members of `attributes` become "
        "attributes too, and all keep their JSON types.",
        "content": {
            "text/csv": {"schema": {"type": "string"}, "example": _CSV_EXAMPLE},
            "application/x-ndjson": {"schema": {"type": "string"}, "example": _NDJSON_EXAMPLE},
            "application/gzip": {"schema": {"type": "string", "format": "binary"}},
        },
    }
}
_GLIMPSE_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "description": "The file, or the beginning of it, up to 1 MiB.",
        "content": {"text/csv": {"schema": {"type": "string"}, "example": _CSV_EXAMPLE}},
    }
}
_Target = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_]{1,64}$")]
_MAPPING = TypeAdapter(Annotated[dict[str, _Target | None], Field(max_length=200)])
Delimiter = Annotated[
    str | None,
    Query(
        pattern=r"^(tab|[\x01-\x09\x0b\x0c\x0e-\x1f!#-/:-@\[-`{-~])$",
        description="Of CSV: `tab` or any ASCII character but letters, digits, quotes, spaces and line breaks. `,` `;` "
        "tab and `|` are detected.",
        examples=[";"],
    ),
]
# Proxies must pass events on at once.
_STREAM_HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
_RETRY_MILLISECONDS = 1000


def given_file(request: Request, delimiter: Delimiter = None) -> GivenFile:
    """Return what the sender says of the file; answers 415 if it is none that can be imported."""
    content_type = request.headers.get("content-type", "")
    parsed = Message()
    parsed["content-type"] = content_type
    coding = request.headers.get("content-encoding", "identity").strip().lower()
    if not content_type or parsed.get_content_type() not in _KINDS or coding not in {"identity", "gzip", "x-gzip"}:
        raise ProblemError(
            415, "unsupported_media_type", "Send the file itself as the body: text/csv or application/x-ndjson."
        )
    return GivenFile(
        kind=_KINDS[parsed.get_content_type()],
        delimiter="\t" if delimiter == "tab" else delimiter,
        charset=parsed.get_content_charset(),
    )


def given_mapping(
    mapping: Annotated[
        str | None,
        Query(
            max_length=20_000,
            description="A JSON object: what a column or member becomes, by its name in the file: `email`, "
            "`first_name`, `last_name` or the name of an attribute; null leaves it out. Others keep their name, "
            "in lower case and with underscores. `POST /v1/imports/preview` suggests one.",
            examples=['{"E-Mail-Adresse": "email", "Vorname": "first_name", "Notiz": null}'],
        ),
    ] = None,
) -> dict[str, str | None]:
    """Return the mapping that the caller wants; answers 422 if it is none."""
    if mapping is None:
        return {}
    try:
        return {name.strip(): target for name, target in _MAPPING.validate_json(mapping).items()}
    except ValidationError as error:
        message = "A mapping is a JSON object of names to names of 1 to 64 letters a-z, digits or underscores, or null."
        raise ProblemError(422, "invalid_mapping", message) from error


@router.post(
    "/v1/imports",
    operation_id="import_contacts",
    status_code=202,
    responses=responses(400, 401, 403, 404, 413, 415, 422),
    openapi_extra=_BODY,
    max_body_size=_NO_LIMIT,
)
async def import_contacts(
    request: Request,
    caller: ContactsWriter,
    services: Services,
    file: Annotated[GivenFile, Depends(given_file)],
    mapping: Annotated[dict[str, str | None], Depends(given_mapping)],
    list_id: Annotated[UUID | None, Query(description="List to put the contacts on.")] = None,
    mode: Annotated[
        ImportMode,
        Query(
            description="`upsert` creates and changes, `create_only` leaves contacts that exist as they are, "
            "`update_only` rejects rows of addresses that are no contact yet."
        ),
    ] = ImportMode.UPSERT,
    lift_reason: Annotated[
        str | None,
        Query(
            min_length=3,
            max_length=500,
            pattern=r"^[^\x00-\x1f\x7f]+$",
            description="Makes contacts of the file who have unsubscribed or bounced active again, and puts them back "
            "on the list if they have left it: say why this is right. It is kept with the import. Nobody who has "
            "complained comes back. Not with `create_only`.",
            examples=["Signed up again at our stand on 3 May, forms are on file"],
        ),
    ] = None,
) -> ImportAnswer:
    """Import contacts from a CSV or NDJSON file, in the background.

    UTF-8, UTF-16 and Windows-1252 (Latin-1) are detected; other encodings by `charset` in the content type. A row that
    is wrong is reported and the rest imported. Without `lift_reason` an import never lifts an unsubscribe: contacts who
    are not active stay so, and nobody is put back on a list that they have left.
    """
    if lift_reason is not None and mode is ImportMode.CREATE_ONLY:
        raise ProblemError(422, "lift_needs_changes", "An import that only creates contacts brings nobody back.")
    if int(request.headers.get("content-length", "0")) > services.settings.import_max_bytes:
        raise ImportTooLarge(services.settings.import_max_bytes)
    wanted = NewImport(list_id=list_id, mode=mode, file=file, mapping=mapping, lift_reason=lift_reason)
    job = await services.receiving_imports.receive(caller.organisation_id, wanted, _body(request))
    return ImportAnswer.of(job)


@router.post(
    "/v1/imports/preview",
    operation_id="preview_import",
    responses=responses(400, 401, 403, 413, 415, 422),
    openapi_extra=_GLIMPSE_BODY,
    dependencies=[Depends(requires(Permission.CONTACTS_WRITE))],
)
async def preview_import(
    request: Request, services: Services, file: Annotated[GivenFile, Depends(given_file)]
) -> ImportPreview:
    """Look at a CSV file before it is imported: what was detected, the first rows, and a mapping to begin with.

    Nothing is stored. The beginning of the file is enough.
    """
    encoding, glimpse = await services.receiving_imports.glimpse(file, _body(request))
    return ImportPreview.of(encoding, glimpse)


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
    "/v1/imports/{import_id}/progress",
    operation_id="watch_import_progress",
    response_class=StreamingResponse,
    responses={
        200: {
            "description": "Events `progress` with the import as `GET /v1/imports/{import_id}` answers it, at most two "
            "a second, and `end` when it has ended",
            "content": {"text/event-stream": {"schema": {"type": "string"}}},
        },
        **responses(401, 403, 404, 422, 503),
    },
)
async def watch_import(
    import_id: UUID, caller: ContactsReader, request: Request, services: Services
) -> StreamingResponse:
    """Stream how far an import has come: at once, after each change, and `end` when it has ended.

    When the stream breaks off without `end` connect again: the first event tells everything.
    """
    watching, state = services.watching_imports, request.app.state
    await watching.check(caller.organisation_id, import_id)
    jobs = watching.watch(caller.organisation_id, import_id, lambda: bool(state.draining))
    return StreamingResponse(_events(jobs), media_type="text/event-stream", headers=_STREAM_HEADERS)


@router.post(
    "/v1/imports/{import_id}/actions/cancel",
    operation_id="cancel_import",
    responses=responses(401, 403, 404, 409, 422),
)
async def cancel_import(import_id: UUID, caller: ContactsWriter, services: Services) -> ImportAnswer:
    """Stop an import. What has been imported stays."""
    return ImportAnswer.of(await services.receiving_imports.cancel(caller.organisation_id, import_id))


async def _events(jobs: AsyncGenerator[Import | None]) -> AsyncIterator[bytes]:
    async with contextlib.aclosing(jobs):
        async for job in jobs:
            if job is None:
                yield format_sse_event(comment="still here")
                continue
            data = ImportAnswer.of(job).model_dump_json()
            yield format_sse_event(event="progress", data_str=data, retry=_RETRY_MILLISECONDS)
            if job.status not in OPEN:
                yield format_sse_event(event="end", data_str="{}")


async def _body(request: Request) -> AsyncGenerator[bytes]:
    try:
        async for block in request.stream():
            yield block
    except ClientDisconnect as error:
        raise ProblemError(400, "upload_broken_off", "The file did not come in whole.") from error
