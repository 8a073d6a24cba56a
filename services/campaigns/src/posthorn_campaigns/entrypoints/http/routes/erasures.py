"""Erasing contacts, and `/v1/erasures`: how far that is in every service."""

from __future__ import annotations

from typing import Annotated, Any, Self
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Response
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints
from pydantic.functional_validators import AfterValidator

from posthorn_campaigns.app.erasing import ErasureWish
from posthorn_campaigns.domain.erasures import Erasure, ErasureState, HoldingService
from posthorn_campaigns.entrypoints.http.deps import ContactsEraser, Services
from posthorn_campaigns.entrypoints.http.schemas_audience import one_line
from posthorn_common.http.fields import EmailAddress
from posthorn_common.http.identity import internal_caller
from posthorn_common.http.pagination import Page, Paging, encode_cursor, id_after
from posthorn_common.http.problems import responses
from posthorn_contracts.campaigns.internal_v1 import ErasureSubject

router = APIRouter(tags=["contacts"])
internal_router = APIRouter(include_in_schema=False, prefix="/internal", dependencies=[Depends(internal_caller)])

Reason = Annotated[
    Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=500), AfterValidator(one_line)]
    | None,
    Query(
        description="Why, or on what basis. It is kept with the erasure: write nothing about the person here.",
        examples=["Art. 17 (1) (b) GDPR, ticket 4711"],
    ),
]
_EXAMPLE: dict[str, Any] = {
    "id": "019abb20-7c00-7009-8a5e-3f2a9c0d0009",
    "contact_id": "019abb20-7c00-7003-8a5e-3f2a9c0d0003",
    "state": "running",
    "requested_by_kind": "user",
    "requested_by": "019abb20-7c00-7002-8a5e-3f2a9c0d0002",
    "reason": "Art. 17 (1) (b) GDPR, ticket 4711",
    "requested_at": "2026-03-02T09:30:00Z",
    "completed_at": None,
    "waits_for": ["analytics"],
    "confirmations": [
        {
            "service": "campaigns",
            "at": "2026-03-02T09:30:00Z",
            "counts": {
                "contacts": 1,
                "subscriptions": 3,
                "subscription_changes": 4,
                "confirmations": 1,
                "activities": 40,
                "exports": 1,
            },
        },
        {
            "service": "mailer",
            "at": "2026-03-02T09:30:01Z",
            "counts": {"deliveries": 12, "messages": 1, "suppressions": 1},
        },
    ],
}


class ErasureConfirmationAnswer(BaseModel):
    service: HoldingService
    at: AwareDatetime
    counts: dict[str, int] = Field(description="How many records of each kind the service has deleted or blanked.")


class ErasureAnswer(BaseModel):
    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE]})

    id: UUID
    contact_id: UUID
    state: ErasureState = Field(
        description="`running` until every service has confirmed. From `completed` on nobody knows the address any "
        "more; keyed hashes of it stay, here and on the suppression list."
    )
    requested_by_kind: str = Field(description="`user` or `api_key`.")
    requested_by: UUID
    reason: str | None
    requested_at: AwareDatetime
    completed_at: AwareDatetime | None
    waits_for: list[HoldingService] = Field(description="Services that have not confirmed; they are asked again.")
    confirmations: list[ErasureConfirmationAnswer]

    @classmethod
    def of(cls, erasure: Erasure) -> Self:
        """Return the answer for an erasure."""
        return cls(
            id=erasure.id,
            contact_id=erasure.contact_id,
            state=erasure.state,
            requested_by_kind=erasure.requested_by_kind,
            requested_by=erasure.requested_by,
            reason=erasure.reason,
            requested_at=erasure.requested_at,
            completed_at=erasure.completed_at,
            waits_for=list(erasure.waits_for),
            confirmations=[
                ErasureConfirmationAnswer(service=service, at=told.at, counts=dict(told.counts))
                for service, told in sorted(erasure.confirmations.items(), key=lambda item: item[1].at)
            ],
        )


@router.delete(
    "/v1/contacts/{contact_id}",
    operation_id="erase_contact",
    status_code=202,
    responses=responses(401, 403, 404, 422),
)
async def erase_contact(
    contact_id: UUID, caller: ContactsEraser, services: Services, response: Response, reason: Reason = None
) -> ErasureAnswer:
    """Erase a contact for good, here and in every other service.

    With the answer it is gone from here, and so are exports that hold it. The others follow within seconds, or when
    they are back: the erasure, whose path is in `Location`, says which have confirmed. Mail that waits for the contact
    is not sent. Statistics keep their counts. The address stays suppressed, by a keyed hash: imported again it is a new
    contact, who is not mailed until somebody deletes the suppression of the address.
    """
    wish = ErasureWish(contact_id, caller.kind, caller.subject_id, reason)
    erasure = await services.erasing.ask(caller.organisation_id, wish)
    response.headers["Location"] = f"/v1/erasures/{erasure.id}"
    return ErasureAnswer.of(erasure)


@router.get("/v1/erasures", operation_id="list_erasures", responses=responses(400, 401, 403, 422))
async def list_erasures(
    caller: ContactsEraser,
    page: Paging,
    services: Services,
    email: Annotated[
        EmailAddress | None, Query(description="Only erasures of this address. It is compared by its keyed hash.")
    ] = None,
) -> Page[ErasureAnswer]:
    """List erasures, newest first."""
    found = await services.erasing.find(caller.organisation_id, email=email, after=id_after(page), limit=page.limit + 1)
    items = [ErasureAnswer.of(erasure) for erasure in found[: page.limit]]
    return Page(items=items, next_cursor=encode_cursor(items[-1].id) if len(found) > page.limit else None)


@router.get("/v1/erasures/{erasure_id}", operation_id="get_erasure", responses=responses(401, 403, 404, 422))
async def get_erasure(erasure_id: UUID, caller: ContactsEraser, services: Services) -> ErasureAnswer:
    """Return an erasure: which services have confirmed it, when, and what they have erased."""
    return ErasureAnswer.of(await services.erasing.get(caller.organisation_id, erasure_id))


@internal_router.get("/erasures/{erasure_id}")
async def get_erasure_subject(erasure_id: UUID, services: Services) -> ErasureSubject:
    """Return whom an erasure is about, for services that find people by their addresses."""
    return await services.erasing.subject(erasure_id)
