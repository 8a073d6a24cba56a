"""Subscriptions and their history are of lists and contacts that exist, whoever deletes these meanwhile."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import UUID

import httpx
import pytest
import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from posthorn_campaigns.bootstrap import Container
from posthorn_common.clock import new_id

from .campaign_support import Office

pytestmark = pytest.mark.integration


@pytest.fixture
def office(client: httpx.AsyncClient, headers: dict[str, str], organisation_id: Any) -> Office:
    return Office(client, headers, organisation_id)


async def _left(container: Container, organisation_id: UUID) -> tuple[int, int]:
    """Return how many subscriptions and changes of them the organisation has."""
    query = sa.text(
        "SELECT (SELECT count(*) FROM subscriptions WHERE organisation_id = :id) AS subscriptions, "
        "(SELECT count(*) FROM subscription_changes WHERE organisation_id = :id) AS changes"
    )
    async with container.engine.connect() as connection:
        row = (await connection.execute(query, {"id": organisation_id})).one()
    return row.subscriptions, row.changes


async def _waits(container: Container, eventually: Any) -> None:
    """Wait until some transaction waits for another one that deletes, or for one that it would delete from."""
    query = sa.text("SELECT count(*) FROM pg_locks WHERE NOT granted AND locktype IN ('transactionid', 'tuple')")

    async def waiting() -> int:
        async with container.engine.connect() as connection:
            return int((await connection.execute(query)).scalar_one())

    await eventually(waiting)


async def test_nothing_is_subscribed_to_what_does_not_exist(
    office: Office, container: Container, organisation_id: UUID
) -> None:
    list_id, contact_id = UUID(await office.a_list()), UUID((await office.a_contact())["id"])

    async def subscribe(to: UUID, *contacts: UUID) -> None:
        async with container.managing_lists._new_unit_of_work() as uow:
            await uow.contacts.subscribe(organisation_id, contacts, [to], container.clock.now())

    for to, contacts in ((new_id(), (contact_id,)), (list_id, (contact_id, new_id()))):
        with pytest.raises(IntegrityError, match="does not exist"):
            await subscribe(to, *contacts)
    assert await _left(container, organisation_id) == (0, 0)
    await subscribe(list_id, contact_id)
    assert await _left(container, organisation_id) == (1, 1)


@pytest.mark.parametrize("deleted", ["list", "contact"])
@pytest.mark.parametrize("change", ["subscribe", "unsubscribe"])
async def test_what_is_written_while_a_list_or_contact_is_deleted_goes_with_it(
    office: Office, container: Container, organisation_id: UUID, eventually: Any, deleted: str, change: str
) -> None:
    list_id = await office.a_list()
    on_list, other = await office.a_contact(list_id), await office.a_contact()
    contact = other if change == "subscribe" else on_list
    path = f"/v1/lists/{list_id}" if deleted == "list" else f"/v1/contacts/{contact['id']}"
    async with container.managing_lists._new_unit_of_work() as uow:
        arguments: tuple[Any, ...] = ([UUID(contact["id"])], [UUID(list_id)])
        if change == "subscribe":
            await uow.contacts.subscribe(organisation_id, *arguments, container.clock.now())
        else:
            await uow.contacts.unsubscribe(organisation_id, UUID(contact["id"]), [UUID(list_id)], container.clock.now())
        deleting = asyncio.create_task(office.client.delete(path, headers=office.headers))
        await _waits(container, eventually)
    assert (await deleting).status_code in {202, 204}
    of_others = 1 if deleted == "contact" and change == "subscribe" else 0
    assert await _left(container, organisation_id) == (of_others, of_others)


@pytest.mark.parametrize("deleted", ["lists", "contacts"])
async def test_what_is_being_deleted_gets_no_new_subscriptions(
    office: Office, container: Container, organisation_id: UUID, eventually: Any, deleted: str
) -> None:
    list_id, contact = await office.a_list(), await office.a_contact()
    gone = UUID(list_id if deleted == "lists" else contact["id"])

    async def subscribe() -> None:
        async with container.managing_lists._new_unit_of_work() as uow:
            await uow.contacts.subscribe(organisation_id, [UUID(contact["id"])], [UUID(list_id)], container.clock.now())

    async with container.engine.begin() as connection:
        await connection.execute(sa.text(f"DELETE FROM {deleted} WHERE id = :id"), {"id": gone})
        subscribing = asyncio.create_task(subscribe())
        await _waits(container, eventually)
    with pytest.raises(IntegrityError, match="does not exist"):
        await subscribing
    assert await _left(container, organisation_id) == (0, 0)
