"""`/v1/lists`."""

from __future__ import annotations

from uuid import UUID

from fastapi import APIRouter

from posthorn_campaigns.entrypoints.http.deps import ContactsReader, ContactsWriter, Services
from posthorn_campaigns.entrypoints.http.schemas_audience import (
    ListAnswer,
    ListChangeRequest,
    NewListRequest,
)
from posthorn_common.http.pagination import Page, Paging, encode_cursor, id_after
from posthorn_common.http.problems import responses

router = APIRouter(tags=["lists"])


@router.get("/v1/lists", operation_id="list_lists", responses=responses(400, 401, 403, 422))
async def list_lists(caller: ContactsReader, page: Paging, services: Services) -> Page[ListAnswer]:
    """List the organisation's lists, oldest first, and how many contacts are on each."""
    found = await services.managing_lists.find(caller.organisation_id, id_after(page), page.limit + 1)
    items = [ListAnswer.of(counted) for counted in found[: page.limit]]
    return Page(items=items, next_cursor=encode_cursor(items[-1].id) if len(found) > page.limit else None)


@router.post("/v1/lists", operation_id="add_list", status_code=201, responses=responses(401, 403, 422))
async def add_list(body: NewListRequest, caller: ContactsWriter, services: Services) -> ListAnswer:
    """Add an empty list."""
    added = await services.managing_lists.add(
        caller.organisation_id, body.name, body.description, body.opt_in, is_public=body.is_public
    )
    return ListAnswer.of(added)


@router.get("/v1/lists/{list_id}", operation_id="get_list", responses=responses(401, 403, 404, 422))
async def get_list(list_id: UUID, caller: ContactsReader, services: Services) -> ListAnswer:
    """Return one list and how many contacts are on it."""
    return ListAnswer.of(await services.managing_lists.get(caller.organisation_id, list_id))


@router.patch("/v1/lists/{list_id}", operation_id="change_list", responses=responses(401, 403, 404, 422))
async def change_list(list_id: UUID, body: ListChangeRequest, caller: ContactsWriter, services: Services) -> ListAnswer:
    """Change name, description, or what its public form takes."""
    changed = await services.managing_lists.change(
        caller.organisation_id,
        list_id,
        name=body.name,
        description=body.description,
        opt_in=body.opt_in,
        is_public=body.is_public,
    )
    return ListAnswer.of(changed)


@router.delete(
    "/v1/lists/{list_id}", operation_id="delete_list", status_code=204, responses=responses(401, 403, 404, 409, 422)
)
async def delete_list(list_id: UUID, caller: ContactsWriter, services: Services) -> None:
    """Delete a list. Its contacts stay; an import into it fails. Refused while a campaign goes to it."""
    await services.managing_lists.delete(caller.organisation_id, list_id)


@router.put(
    "/v1/lists/{list_id}/contacts/{contact_id}",
    operation_id="subscribe_contact_to_list",
    status_code=204,
    responses=responses(401, 403, 404, 422),
)
async def subscribe_contact(list_id: UUID, contact_id: UUID, caller: ContactsWriter, services: Services) -> None:
    """Put a contact on a list, also one who has left it."""
    await services.managing_lists.subscribe(caller.organisation_id, list_id, contact_id)


@router.delete(
    "/v1/lists/{list_id}/contacts/{contact_id}",
    operation_id="unsubscribe_contact_from_list",
    status_code=204,
    responses=responses(401, 403, 404, 422),
)
async def unsubscribe_contact(list_id: UUID, contact_id: UUID, caller: ContactsWriter, services: Services) -> None:
    """Take a contact off a list. Imports do not put the contact back.

    Of campaigns that are being sent the contact gets nothing more, unless it is on another of their lists.
    """
    await services.managing_lists.unsubscribe(caller.organisation_id, list_id, contact_id)
