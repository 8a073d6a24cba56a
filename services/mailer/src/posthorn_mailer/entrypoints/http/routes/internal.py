"""Routes for the other services."""

from __future__ import annotations

from uuid import UUID

from fastapi import APIRouter, Depends

from posthorn_common.http.identity import internal_caller
from posthorn_contracts.disclosures import Disclosure, DisclosureQuestion
from posthorn_contracts.mailer.internal_v1 import (
    MessageAccepted,
    SuppressionState,
    SuppressionStates,
    TransactionalMessage,
)
from posthorn_mailer.entrypoints.http.deps import Services
from posthorn_mailer.entrypoints.http.routes.messages import MAX_MESSAGE_BYTES

router = APIRouter(include_in_schema=False, prefix="/internal", dependencies=[Depends(internal_caller)])


@router.post("/messages", status_code=202, max_body_size=MAX_MESSAGE_BYTES)
async def accept_message(body: TransactionalMessage, services: Services) -> MessageAccepted:
    """Store a message to one address and send it soon; idempotent by the organisation and its idempotency key.

    422 with `no_relay`, `no_sender`, `invalid_message` or `idempotency_key_reused`.
    """
    message = await services.accepting_messages.accept(body)
    return MessageAccepted(message_id=message.id, status=message.status)


@router.get("/suppression-changes/{change_id}")
async def show_changed_suppressions(change_id: UUID, services: Services) -> SuppressionStates:
    """Tell how the addresses and domains of a change are by now; none of a change that is not known any more."""
    read_at, states = await services.suppressing.states(change_id)
    return SuppressionStates(
        read_at=read_at,
        states=tuple(
            SuppressionState(
                email=state.email,
                reason=None if state.reason is None else state.reason.value,
                since=state.since,
                expires_at=state.expires_at,
            )
            for state in states
        ),
    )


@router.post("/contacts/disclosure")
async def disclose_contact(body: DisclosureQuestion, services: Services) -> Disclosure:
    """Return all that is known of a contact. It only reads: POST keeps the address out of the request's path."""
    found = await services.disclosures.records(body.organisation_id, body.contact_id, body.email)
    return Disclosure(records=found)
