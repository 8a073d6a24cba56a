"""`/v1/contacts`."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Query
from pydantic import AfterValidator, StringConstraints

from posthorn_campaigns.app.managing_contacts import ContactChange, ContactFilter, NewContact
from posthorn_campaigns.domain.audience import ContactStatus
from posthorn_campaigns.entrypoints.http.deps import ContactsReader, ContactsWriter, Services
from posthorn_campaigns.entrypoints.http.schemas_audience import (
    ActivityAnswer,
    ContactAnswer,
    ContactChangeRequest,
    NewContactRequest,
    SubscriptionChangeAnswer,
    SubscriptionHistoryAnswer,
    one_line,
)
from posthorn_common.http.pagination import Page, PageQuery, Paging, encode_cursor, id_after, invalid_cursor
from posthorn_common.http.problems import responses

router = APIRouter(tags=["contacts"])


def _filter(
    list_id: Annotated[UUID | None, Query(description="Only contacts that are subscribed to this list.")] = None,
    segment_id: Annotated[UUID | None, Query(description="Only contacts that belong to this segment now.")] = None,
    status: ContactStatus | None = None,
    suppressed: Annotated[
        bool | None, Query(description="Only contacts whose address is, or is not, on the suppression list.")
    ] = None,
    search: Annotated[
        Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200), AfterValidator(one_line)]
        | None,
        Query(description="The beginning of an address, of a full name or of a last name."),
    ] = None,
) -> ContactFilter:
    return ContactFilter(list_id=list_id, segment_id=segment_id, status=status, suppressed=suppressed, search=search)


@router.get("/v1/contacts", operation_id="list_contacts", responses=responses(400, 401, 403, 404, 409, 422))
async def list_contacts(
    caller: ContactsReader, wanted: Annotated[ContactFilter, Depends(_filter)], page: Paging, services: Services
) -> Page[ContactAnswer]:
    """List contacts, oldest first."""
    found = await services.managing_contacts.find(caller.organisation_id, wanted, id_after(page), page.limit + 1)
    items = [ContactAnswer.of(contact) for contact in found[: page.limit]]
    return Page(items=items, next_cursor=encode_cursor(items[-1].id) if len(found) > page.limit else None)


@router.post("/v1/contacts", operation_id="add_contact", status_code=201, responses=responses(401, 403, 409, 422))
async def add_contact(body: NewContactRequest, caller: ContactsWriter, services: Services) -> ContactAnswer:
    """Add a contact. An address that exists answers 409 `contact_exists` with the contact's id."""
    wanted = NewContact(
        email=body.email,
        first_name=body.first_name,
        last_name=body.last_name,
        locale=body.locale,
        time_zone=body.time_zone,
        attributes=body.attributes,
        list_ids=tuple(body.list_ids),
    )
    return ContactAnswer.of(await services.managing_contacts.add(caller.organisation_id, wanted))


@router.get("/v1/contacts/{contact_id}", operation_id="get_contact", responses=responses(401, 403, 404, 422))
async def get_contact(contact_id: UUID, caller: ContactsReader, services: Services) -> ContactAnswer:
    """Return one contact."""
    return ContactAnswer.of(await services.managing_contacts.get(caller.organisation_id, contact_id))


@router.get(
    "/v1/contacts/{contact_id}/subscription-history",
    operation_id="get_subscription_history",
    responses=responses(401, 403, 404, 422),
)
async def get_subscription_history(
    contact_id: UUID, caller: ContactsReader, services: Services
) -> SubscriptionHistoryAnswer:
    """Return the last hundred changes of a contact's subscriptions, newest first: when, how, and from where."""
    found = await services.managing_contacts.subscription_history(caller.organisation_id, contact_id)
    return SubscriptionHistoryAnswer(items=[SubscriptionChangeAnswer.model_validate(change) for change in found])


@router.get(
    "/v1/contacts/{contact_id}/timeline",
    operation_id="get_contact_timeline",
    responses=responses(400, 401, 403, 404, 422),
)
async def get_contact_timeline(
    contact_id: UUID, caller: ContactsReader, page: Paging, services: Services
) -> Page[ActivityAnswer]:
    """Return what has happened with a contact, newest first: messages, opens, clicks, subscriptions.

    What has happened with messages is kept for a time, 400 days if nothing else is set.
    """
    found = await services.managing_contacts.timeline(caller.organisation_id, contact_id, _before(page), page.limit + 1)
    items = [ActivityAnswer.model_validate(activity) for activity in found[: page.limit]]
    cursor = encode_cursor(items[-1].at.isoformat(), items[-1].id) if len(found) > page.limit else None
    return Page(items=items, next_cursor=cursor)


def _before(page: PageQuery) -> tuple[datetime, UUID] | None:
    if page.after is None:
        return None
    try:
        at, activity_id = page.after
        time = datetime.fromisoformat(at)
        if time.tzinfo is None:
            raise invalid_cursor()
        return time, UUID(activity_id)
    except (ValueError, TypeError, AttributeError) as error:
        raise invalid_cursor() from error


@router.patch("/v1/contacts/{contact_id}", operation_id="change_contact", responses=responses(401, 403, 404, 409, 422))
async def change_contact(
    contact_id: UUID, body: ContactChangeRequest, caller: ContactsWriter, services: Services
) -> ContactAnswer:
    """Change address, names or attributes. Attributes are merged: null removes one, others not named stay."""
    change = ContactChange(
        email=body.email,
        first_name=body.first_name,
        last_name=body.last_name,
        locale=body.locale,
        time_zone=body.time_zone,
        attributes=body.attributes,
    )
    return ContactAnswer.of(await services.managing_contacts.change(caller.organisation_id, contact_id, change))


@router.post(
    "/v1/contacts/{contact_id}/actions/unsubscribe",
    operation_id="unsubscribe_contact",
    responses=responses(401, 403, 404, 422),
)
async def unsubscribe_contact(contact_id: UUID, caller: ContactsWriter, services: Services) -> ContactAnswer:
    """Note that a contact wants no mail at all. Also mail that is queued already is not sent."""
    return ContactAnswer.of(await services.managing_contacts.unsubscribe(caller.organisation_id, contact_id))


@router.post(
    "/v1/contacts/{contact_id}/actions/resubscribe",
    operation_id="resubscribe_contact",
    responses=responses(401, 403, 404, 409, 422),
)
async def resubscribe_contact(contact_id: UUID, caller: ContactsWriter, services: Services) -> ContactAnswer:
    """Note that a contact has asked for mail again. Refused for one who has complained."""
    return ContactAnswer.of(await services.managing_contacts.resubscribe(caller.organisation_id, contact_id))
