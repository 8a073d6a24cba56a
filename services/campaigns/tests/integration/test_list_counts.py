"""How many contacts are on a list: counted at every change, and never wrong."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import httpx
import pytest
import sqlalchemy as sa

from posthorn_campaigns.app.receiving_imports import NewImport
from posthorn_campaigns.bootstrap import Container
from posthorn_campaigns.domain.imports import ImportMode

from .campaign_support import Office

pytestmark = pytest.mark.integration


@pytest.fixture
def office(client: httpx.AsyncClient, headers: dict[str, str], organisation_id: Any) -> Office:
    return Office(client, headers, organisation_id)


class _Dies(Exception):
    """Nothing of the transaction is committed."""


async def _shown(office: Office) -> dict[str, int]:
    return {item["id"]: item["contact_count"] for item in (await office.get("/v1/lists"))["items"]}


async def _counted(container: Container, list_id: str) -> int:
    """Count what there is."""
    query = sa.text("SELECT count(*) FROM subscriptions WHERE list_id = :id AND status = 'subscribed'")
    async with container.engine.connect() as connection:
        return int((await connection.execute(query, {"id": UUID(list_id)})).scalar_one())


async def _rows(container: Container, list_id: str) -> list[int]:
    query = sa.text("SELECT contacts FROM list_counts WHERE list_id = :id")
    async with container.engine.connect() as connection:
        return list(await connection.scalars(query, {"id": UUID(list_id)}))


async def _import(container: Container, organisation_id: UUID, list_id: str, *emails: str, **fields: Any) -> None:
    async def content() -> AsyncIterator[bytes]:
        yield "\n".join(("email", *emails)).encode()

    wanted = NewImport(list_id=UUID(list_id), mode=ImportMode.UPSERT, **fields)
    job = await container.receiving_imports.receive(organisation_id, wanted, content())
    await container.importing.work_on(job.id, stop=asyncio.Event())


async def test_counts_follow_every_way_in_which_subscriptions_change(
    office: Office, container: Container, organisation_id: UUID
) -> None:
    list_id, other_id = await office.a_list(), await office.a_list()
    assert await _shown(office) == {list_id: 0, other_id: 0}

    async def now(expected: int) -> None:
        assert (await _shown(office))[list_id] == expected == await _counted(container, list_id)
        await container.managing_lists.fold_counts()
        assert (await office.get(f"/v1/lists/{list_id}"))["contact_count"] == expected

    ada = await office.a_contact(list_id, other_id)
    await now(1)
    bulk = [{"email": f"b{number}@example.com"} for number in range(5)]
    await office.post("/v1/contacts/bulk", {"contacts": bulk, "list_ids": [list_id]}, status=200)
    await now(6)
    path = f"/v1/lists/{list_id}/contacts/{ada['id']}"
    for _ in range(2):
        assert (await office.client.delete(path, headers=office.headers)).status_code == 204
        await now(5)
    await _import(container, organisation_id, list_id, ada["email"], "b1@example.com", "c@example.com")
    await now(6)
    await _import(container, organisation_id, list_id, ada["email"], lift_reason="They signed up again")
    await now(7)
    assert (await office.client.put(path, headers=office.headers)).status_code == 204
    await now(7)
    assert (await office.client.delete(f"/v1/contacts/{ada['id']}", headers=office.headers)).status_code == 202
    await now(6)
    assert (await _shown(office))[other_id] == 0
    assert (await office.client.delete(f"/v1/lists/{list_id}", headers=office.headers)).status_code == 204
    await container.managing_lists.fold_counts()
    assert await _rows(container, list_id) == [], "nothing is kept of a list that is gone"


async def test_counts_are_right_when_many_write_and_fold_at_once(
    office: Office, container: Container, organisation_id: UUID
) -> None:
    list_id = await office.a_list()
    contacts = [await office.a_contact() for _ in range(8)]

    async def join_and_leave(contact: Any, times: int) -> None:
        path = f"/v1/lists/{list_id}/contacts/{contact['id']}"
        for number in range(times):
            method = "DELETE" if number % 2 else "PUT"
            assert (await office.client.request(method, path, headers=office.headers)).status_code == 204

    async def fold() -> None:
        for _ in range(10):
            await container.managing_lists.fold_counts()

    async def look() -> None:
        for _ in range(10):
            assert 0 <= (await _shown(office))[list_id] <= len(contacts)

    await asyncio.gather(
        *(join_and_leave(contact, 6 + number % 2) for number, contact in enumerate(contacts)), fold(), fold(), look()
    )
    assert (await _shown(office))[list_id] == 4 == await _counted(container, list_id)
    await container.managing_lists.fold_counts()
    assert await _rows(container, list_id) == [4]


async def test_writers_of_one_list_do_not_wait_for_each_other_and_what_is_undone_is_not_counted(
    office: Office, container: Container, organisation_id: UUID
) -> None:
    list_id = await office.a_list()
    ada, bob = await office.a_contact(), await office.a_contact()
    async with container.managing_lists._new_unit_of_work() as uow:
        await uow.contacts.subscribe(organisation_id, [UUID(ada["id"])], [UUID(list_id)], container.clock.now())
        async with asyncio.timeout(60):
            path = f"/v1/lists/{list_id}/contacts/{bob['id']}"
            assert (await office.client.put(path, headers=office.headers)).status_code == 204
            await container.managing_lists.fold_counts()
        assert (await _shown(office))[list_id] == 1, "what is not committed is not counted"
    assert (await _shown(office))[list_id] == 2

    async def leave_and_die() -> None:
        async with container.managing_lists._new_unit_of_work() as uow:
            await uow.contacts.unsubscribe(organisation_id, UUID(bob["id"]), [UUID(list_id)], container.clock.now())
            raise _Dies

    with pytest.raises(_Dies):
        await leave_and_die()
    assert (await _shown(office))[list_id] == 2
