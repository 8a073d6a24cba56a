"""`POST /v1/contacts/bulk`."""

from __future__ import annotations

from typing import Annotated, Any, Self
from uuid import UUID

from fastapi import APIRouter
from pydantic import BaseModel, Field, ValidationError

from posthorn_campaigns.app.writing_many_contacts import MAX_ROWS, ContactRow, RowResult, WrittenRow
from posthorn_campaigns.domain.imports import ImportMode
from posthorn_campaigns.entrypoints.http.deps import ContactsWriter, Services
from posthorn_campaigns.entrypoints.http.schemas_audience import Attributes, Locale, PersonName, TimeZone
from posthorn_common.http.fields import EmailAddress, RequestModel
from posthorn_common.http.problems import FieldProblem, responses

router = APIRouter(tags=["contacts"])

_MAX_BYTES = 16 * 1024 * 1024
_EXAMPLE = [{"email": "ada@example.com", "first_name": "Ada", "attributes": {"plan": "pro"}}]


class BulkContact(RequestModel):
    """What is not given stays as it is."""

    email: EmailAddress
    first_name: PersonName | None = None
    last_name: PersonName | None = None
    locale: Locale | None = None
    time_zone: TimeZone | None = None
    attributes: Attributes = Field(default_factory=dict)


class BulkRequest(RequestModel):
    mode: ImportMode = Field(
        default=ImportMode.UPSERT,
        description="`upsert` adds and changes, `create_only` leaves known contacts alone, `update_only` adds none.",
    )
    list_ids: list[UUID] = Field(
        default_factory=list,
        max_length=10,
        description="Lists to put the contacts on. Nobody comes back on a list that they have left.",
    )
    contacts: Annotated[list[dict[str, Any]], Field(min_length=1, max_length=MAX_ROWS)] = Field(
        description="Each with `email` and, if wanted, `first_name`, `last_name`, `locale`, `time_zone`, `attributes`, "
        "which are put over the present ones: null removes one.",
        examples=[_EXAMPLE],
    )


class BulkRowAnswer(BaseModel):
    row: int = Field(description="Counted from 0.")
    result: RowResult
    id: UUID | None = None
    errors: list[FieldProblem] | None = Field(default=None, description="Why the row was rejected.")

    @classmethod
    def of(cls, written: WrittenRow) -> Self:
        """Return the answer for a row."""
        errors = [FieldProblem(**problem) for problem in written.problems] or None
        return cls(row=written.number, result=written.result, id=written.contact_id, errors=errors)


class BulkAnswer(BaseModel):
    counts: dict[RowResult, int] = Field(description="How many rows came to what.")
    results: list[BulkRowAnswer] = Field(description="One for each row, in their order.")


@router.post(
    "/v1/contacts/bulk",
    operation_id="write_contacts",
    responses=responses(401, 403, 413, 422),
    response_model_exclude_none=True,
    max_body_size=_MAX_BYTES,
)
async def write_contacts(body: BulkRequest, caller: ContactsWriter, services: Services) -> BulkAnswer:
    """Add and change up to 10,000 contacts. Wrong rows are rejected, each with its errors, and the others taken.

    All that are taken are stored together. Sending the same again changes nothing. Statuses are never touched.
    """
    rows: list[ContactRow] = []
    written: list[WrittenRow] = []
    for number, document in enumerate(body.contacts):
        try:
            rows.append(ContactRow(number, **BulkContact.model_validate(document).model_dump(exclude_unset=True)))
        except ValidationError as error:
            written.append(WrittenRow(number, RowResult.REJECTED, problems=_problems(error)))
    written += await services.writing_many_contacts.write(caller.organisation_id, rows, body.mode, body.list_ids)
    written.sort(key=lambda row: row.number)
    counts = dict.fromkeys(RowResult, 0)
    for row in written:
        counts[row.result] += 1
    return BulkAnswer(counts=counts, results=[BulkRowAnswer.of(row) for row in written])


def _problems(error: ValidationError) -> tuple[dict[str, str], ...]:
    return tuple(
        {
            "location": ".".join(str(part) for part in found["loc"]),
            "code": found["type"],
            "message": found["msg"],
        }
        for found in error.errors(include_url=False, include_context=False, include_input=False)[:10]
    )
