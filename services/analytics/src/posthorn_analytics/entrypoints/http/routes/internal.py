"""Routes for the other services."""

from __future__ import annotations

from fastapi import APIRouter, Depends

from posthorn_analytics.entrypoints.http.deps import Services
from posthorn_common.http.identity import internal_caller
from posthorn_contracts.disclosures import Disclosure, DisclosureQuestion

router = APIRouter(include_in_schema=False, prefix="/internal", dependencies=[Depends(internal_caller)])


@router.post("/contacts/disclosure")
async def disclose_contact(body: DisclosureQuestion, services: Services) -> Disclosure:
    """Return all that is known of a contact. It only reads: POST keeps the address out of the request's path."""
    return Disclosure(records=await services.disclosures.records(body.organisation_id, body.contact_id))
