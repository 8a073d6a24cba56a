"""Contacts through the API."""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
import sqlalchemy as sa

from posthorn_campaigns.bootstrap import Container
from posthorn_campaigns.domain.audience import ContactStatus
from posthorn_common.clock import SystemClock, new_id
from posthorn_contracts.permissions import Permission, Role

from .campaign_support import Office

pytestmark = pytest.mark.integration


async def _add(client: httpx.AsyncClient, headers: dict[str, str], **fields: Any) -> dict[str, Any]:
    answer = await client.post("/v1/contacts", json={"email": f"{uuid4()}@example.com", **fields}, headers=headers)
    assert answer.status_code == 201, answer.text
    document: dict[str, Any] = answer.json()
    return document


async def _add_list(client: httpx.AsyncClient, headers: dict[str, str], name: str = "Readers") -> str:
    answer = await client.post("/v1/lists", json={"name": name}, headers=headers)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


async def _events(container: Container, organisation_id: UUID) -> list[tuple[str, Any]]:
    async with container.engine.connect() as connection:
        query = sa.text(
            "SELECT event_type, body::jsonb -> 'data' FROM outbox "
            "WHERE event_type LIKE 'campaigns.%' AND body LIKE :which ORDER BY id"
        )
        return [(kind, data) for kind, data in await connection.execute(query, {"which": f"%{organisation_id}%"})]


async def test_a_contact_is_added_on_lists_and_read_back(client: httpx.AsyncClient, headers: Any) -> None:
    list_id = await _add_list(client, headers)
    added = await _add(
        client, headers, email=" Ada@Example.COM ", first_name=" Ada ", attributes={"city": "Rome"}, list_ids=[list_id]
    )
    assert (added["email"], added["first_name"], added["status"]) == ("ada@example.com", "Ada", "active")
    assert added["list_ids"] == [list_id]
    assert (await client.get(f"/v1/contacts/{added['id']}", headers=headers)).json() == added


async def test_an_address_that_exists_answers_409_with_the_contact(client: httpx.AsyncClient, headers: Any) -> None:
    first = await _add(client, headers, email="ada@example.com")
    other = await _add(client, headers, email="grace@example.com")
    again = await client.post("/v1/contacts", json={"email": "ADA@example.com"}, headers=headers)
    moved = await client.patch(f"/v1/contacts/{other['id']}", json={"email": "ada@example.com"}, headers=headers)
    for answer in (again, moved):
        assert (answer.status_code, answer.json()["code"]) == (409, "contact_exists")
        assert answer.json()["contact_id"] == first["id"]
    assert (await client.get(f"/v1/contacts/{other['id']}", headers=headers)).json()["email"] == "grace@example.com"


async def test_two_organisations_may_have_the_same_address(client: httpx.AsyncClient, sign_in: Any) -> None:
    for headers in (sign_in(), sign_in()):
        await _add(client, headers, email="shared@example.com")


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"email": "nobody"}, "invalid_request"),
        ({"email": "a@example.com\r\nBcc: b@example.com"}, "invalid_request"),
        ({"email": "a@example.com", "first_name": "Ada\nBcc: b@example.com"}, "invalid_request"),
        ({"email": "a@example.com", "status": "active"}, "invalid_request"),
        ({"email": "a@example.com", "attributes": {"a b": 1}}, "invalid_attributes"),
        ({"email": "a@example.com", "attributes": {"a": "\x00"}}, "invalid_attributes"),
        ({"email": "a@example.com", "attributes": {"a": [[[[[1]]]]]}}, "invalid_attributes"),
        ({"email": "a@example.com", "attributes": {"a": 2**63}}, "invalid_attributes"),
        ({"email": "a@example.com", "attributes": {f"a{n}": n for n in range(201)}}, "invalid_attributes"),
        ({"email": "a@example.com", "attributes": {f"a{n}": "x" * 9000 for n in range(8)}}, "invalid_attributes"),
        ({"email": "a@example.com", "list_ids": [str(uuid4())]}, "unknown_reference"),
    ],
)
async def test_what_makes_no_sense_is_refused(
    client: httpx.AsyncClient, headers: Any, body: dict[str, Any], code: str
) -> None:
    answer = await client.post("/v1/contacts", json=body, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (422, code)
    assert (await client.get("/v1/contacts", headers=headers)).json()["items"] == []


@pytest.mark.parametrize(
    "attributes", ['{"a": NaN}', '{"a": "\\ud800"}', '{"a": ' + "[" * 100_000 + "]" * 100_000 + "}"]
)
async def test_json_that_cannot_be_stored_is_refused(client: httpx.AsyncClient, headers: Any, attributes: str) -> None:
    body = f'{{"email": "a@example.com", "attributes": {attributes}}}'
    answer = await client.post("/v1/contacts", content=body, headers={**headers, "Content-Type": "application/json"})
    assert answer.status_code in (400, 422), answer.text


async def test_attributes_are_merged_and_null_removes_one(client: httpx.AsyncClient, headers: Any) -> None:
    contact = await _add(client, headers, first_name="Ada", attributes={"city": "Rome", "plan": "pro", "visits": 1})
    body = {"last_name": "Lovelace", "attributes": {"plan": None, "visits": 2, "tags": ["a"]}}
    changed = (await client.patch(f"/v1/contacts/{contact['id']}", json=body, headers=headers)).json()
    assert changed["attributes"] == {"city": "Rome", "visits": 2, "tags": ["a"]}
    assert (changed["first_name"], changed["last_name"]) == ("Ada", "Lovelace")
    assert (await client.get(f"/v1/contacts/{contact['id']}", headers=headers)).json() == changed


async def test_contacts_are_listed_in_pages_and_filtered(client: httpx.AsyncClient, headers: Any) -> None:
    list_id = await _add_list(client, headers)
    ada = await _add(client, headers, email="ada@example.com", first_name="Ada", last_name="King", list_ids=[list_id])
    bob = await _add(client, headers, email="bob_1@example.com", first_name="Ádám", last_name="De Lovelace")
    eve = await _add(client, headers, email="bobby@example.com", list_ids=[list_id])
    await client.post(f"/v1/contacts/{eve['id']}/actions/unsubscribe", headers=headers)

    async def found(**params: str) -> list[str]:
        ids: list[str] = []
        cursor = None
        while True:
            query = {"limit": "1", **params, **({"cursor": cursor} if cursor else {})}
            answer = await client.get("/v1/contacts", params=query, headers=headers)
            assert answer.status_code == 200, answer.text
            ids += [contact["id"] for contact in answer.json()["items"]]
            cursor = answer.json()["next_cursor"]
            if cursor is None:
                return ids

    assert await found() == [ada["id"], bob["id"], eve["id"]]
    assert await found(list_id=list_id) == [ada["id"], eve["id"]]
    assert await found(status="unsubscribed") == [eve["id"]]
    assert await found(search="BOB") == [bob["id"], eve["id"]]
    assert await found(search="bob_") == [bob["id"]], "an underscore is no wildcard"
    assert await found(search="ada k") == [ada["id"]]
    assert await found(search="ádám de") == [bob["id"]]
    assert await found(search="de love") == [bob["id"]]
    assert await found(search="king", list_id=list_id, status="active") == [ada["id"]]
    assert await found(search="%") == []
    assert await found(search="\\") == []


async def test_who_unsubscribes_and_comes_back_is_told_once_each(
    client: httpx.AsyncClient, container: Container, headers: Any, organisation_id: UUID
) -> None:
    contact = await _add(client, headers)
    for action, status in (("unsubscribe", "unsubscribed"), ("resubscribe", "active")):
        for _ in range(2):
            answer = await client.post(f"/v1/contacts/{contact['id']}/actions/{action}", headers=headers)
            assert (answer.status_code, answer.json()["status"]) == (200, status)
    events = await _events(container, organisation_id)
    assert [kind for kind, _ in events] == [
        "campaigns.contact.unsubscribed.v1",
        "campaigns.contact.resubscribed.v1",
    ]
    assert events[0][1] == {
        "contact_id": contact["id"],
        "list_ids": None,
        "campaign_id": None,
        "method": "api",
        "withdrawn_from": [],
    }


async def test_who_has_complained_is_never_mailed_again(
    client: httpx.AsyncClient, container: Container, headers: Any, organisation_id: UUID
) -> None:
    contact = await _add(client, headers)
    async with container.managing_contacts._new_unit_of_work() as uow:
        now = SystemClock().now()
        await uow.contacts.set_status(organisation_id, UUID(contact["id"]), ContactStatus.COMPLAINED, now)
    again = await client.post(f"/v1/contacts/{contact['id']}/actions/resubscribe", headers=headers)
    assert (again.status_code, again.json()["code"]) == (409, "invalid_transition")
    left = await client.post(f"/v1/contacts/{contact['id']}/actions/unsubscribe", headers=headers)
    assert (left.status_code, left.json()["status"]) == (200, "complained")
    assert await _events(container, organisation_id) == []


async def test_an_erased_contact_is_gone_and_every_service_is_told(
    client: httpx.AsyncClient, container: Container, headers: Any, organisation_id: UUID
) -> None:
    list_id = await _add_list(client, headers)
    contact = await _add(client, headers, email="secret-name@example.com", list_ids=[list_id])
    path = f"/v1/contacts/{contact['id']}"
    assert (await client.delete(path, headers=headers)).status_code == 202
    assert (await client.get(path, headers=headers)).status_code == 404
    assert (await client.delete(path, headers=headers)).status_code == 404
    assert (await client.get(f"/v1/lists/{list_id}", headers=headers)).json()["contact_count"] == 0
    ((kind, data),) = await _events(container, organisation_id)
    assert (kind, data["contact_id"]) == ("campaigns.contact.erased.v1", contact["id"])
    async with container.engine.connect() as connection:
        assert not (await connection.execute(sa.text("SELECT 1 FROM outbox WHERE body LIKE '%secret-name%'"))).all()


async def test_lists_are_added_changed_counted_and_deleted(client: httpx.AsyncClient, headers: Any) -> None:
    list_id = await _add_list(client, headers, "Readers")
    path = f"/v1/lists/{list_id}"
    changed = await client.patch(path, json={"description": "All who read"}, headers=headers)
    assert (changed.json()["name"], changed.json()["description"]) == ("Readers", "All who read")
    assert changed.json()["contact_count"] == 0
    contact = await _add(client, headers, list_ids=[list_id])
    counted = (await client.get(path, headers=headers)).json()
    assert (counted["contact_count"], counted["name"]) == (1, "Readers")
    second = await _add_list(client, headers, "Writers")
    page = (await client.get("/v1/lists?limit=1", headers=headers)).json()
    rest = (await client.get(f"/v1/lists?cursor={page['next_cursor']}", headers=headers)).json()
    listed = [(item["id"], item["contact_count"]) for item in page["items"] + rest["items"]]
    assert listed == [(list_id, 1), (second, 0)]
    assert (await client.delete(path, headers=headers)).status_code == 204
    assert (await client.get(path, headers=headers)).status_code == 404
    kept = (await client.get(f"/v1/contacts/{contact['id']}", headers=headers)).json()
    assert kept["list_ids"] == []


async def test_a_contact_joins_and_leaves_a_list(
    client: httpx.AsyncClient, container: Container, headers: Any, organisation_id: UUID
) -> None:
    list_id = await _add_list(client, headers)
    contact = await _add(client, headers)
    path = f"/v1/lists/{list_id}/contacts/{contact['id']}"
    for method, expected in (("PUT", [list_id]), ("DELETE", []), ("PUT", [list_id])):
        for _ in range(2):
            assert (await client.request(method, path, headers=headers)).status_code == 204
        now = (await client.get(f"/v1/contacts/{contact['id']}", headers=headers)).json()
        assert (now["list_ids"], now["status"]) == (expected, "active")
    assert await _events(container, organisation_id) == [
        (
            "campaigns.contact.unsubscribed.v1",
            {
                "contact_id": contact["id"],
                "list_ids": [list_id],
                "campaign_id": None,
                "method": "api",
                "withdrawn_from": [],
            },
        )
    ]


async def test_a_list_is_not_deleted_while_a_campaign_goes_to_it(
    client: httpx.AsyncClient, headers: Any, organisation_id: UUID
) -> None:
    office = Office(client, headers, organisation_id)
    list_id = await office.a_list()
    campaign = await office.a_campaign(list_ids=[list_id])
    await office.act(campaign, "send")
    answer = await client.delete(f"/v1/lists/{list_id}", headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (409, "list_in_use")
    assert (await client.get(f"/v1/lists/{list_id}", headers=headers)).status_code == 200
    await office.act(campaign, "cancel")
    assert (await client.delete(f"/v1/lists/{list_id}", headers=headers)).status_code == 204


async def test_another_organisations_contacts_and_lists_do_not_exist(client: httpx.AsyncClient, sign_in: Any) -> None:
    headers, stranger = sign_in(), sign_in()
    list_id = await _add_list(client, headers)
    contact_id = (await _add(client, headers, list_ids=[list_id]))["id"]
    own_list = await _add_list(client, stranger)
    own_contact = (await _add(client, stranger))["id"]
    for method, path in (
        ("GET", f"/v1/contacts/{contact_id}"),
        ("PATCH", f"/v1/contacts/{contact_id}"),
        ("DELETE", f"/v1/contacts/{contact_id}"),
        ("POST", f"/v1/contacts/{contact_id}/actions/unsubscribe"),
        ("POST", f"/v1/contacts/{contact_id}/actions/resubscribe"),
        ("GET", f"/v1/contacts?list_id={list_id}"),
        ("GET", f"/v1/lists/{list_id}"),
        ("PATCH", f"/v1/lists/{list_id}"),
        ("DELETE", f"/v1/lists/{list_id}"),
        ("PUT", f"/v1/lists/{list_id}/contacts/{own_contact}"),
        ("PUT", f"/v1/lists/{own_list}/contacts/{contact_id}"),
        ("DELETE", f"/v1/lists/{list_id}/contacts/{contact_id}"),
        ("DELETE", f"/v1/lists/{own_list}/contacts/{contact_id}"),
    ):
        body = {"json": {}} if method == "PATCH" else {}
        answer = await client.request(method, path, headers=stranger, **body)
        assert (answer.status_code, answer.json()["code"][-9:]) == (404, "not_found"), (method, path)
    answer = await client.post("/v1/contacts", json={"email": "x@example.com", "list_ids": [list_id]}, headers=stranger)
    assert (answer.status_code, answer.json()["code"]) == (422, "unknown_reference")
    untouched = (await client.get(f"/v1/contacts/{contact_id}", headers=headers)).json()
    assert (untouched["status"], untouched["list_ids"]) == ("active", [list_id])


async def test_who_may_only_read_changes_nothing(client: httpx.AsyncClient, sign_in: Any) -> None:
    organisation_id, some = new_id(), new_id()
    viewer = sign_in(organisation_id, Role.VIEWER)
    assert (await client.get("/v1/contacts", headers=viewer)).status_code == 200
    assert (await client.get("/v1/lists", headers=viewer)).status_code == 200
    for method, path in (
        ("POST", "/v1/contacts"),
        ("PATCH", f"/v1/contacts/{some}"),
        ("DELETE", f"/v1/contacts/{some}"),
        ("POST", f"/v1/contacts/{some}/actions/unsubscribe"),
        ("POST", f"/v1/contacts/{some}/actions/resubscribe"),
        ("POST", "/v1/lists"),
        ("PATCH", f"/v1/lists/{some}"),
        ("DELETE", f"/v1/lists/{some}"),
        ("PUT", f"/v1/lists/{some}/contacts/{some}"),
        ("DELETE", f"/v1/lists/{some}/contacts/{some}"),
        ("POST", "/v1/imports"),
        ("POST", f"/v1/imports/{some}/actions/cancel"),
    ):
        answer = await client.request(method, path, headers=viewer)
        assert (answer.status_code, answer.json()["code"]) == (403, "permission_missing"), (method, path)
        assert (await client.request(method, path)).status_code == 401, (method, path)


async def test_who_may_not_read_contacts_reads_nothing(client: httpx.AsyncClient, sign_in: Any) -> None:
    some, reporter = new_id(), sign_in(scopes=frozenset({Permission.STATISTICS_READ}))
    for path in (
        "/v1/contacts",
        f"/v1/contacts/{some}",
        "/v1/lists",
        f"/v1/lists/{some}",
        "/v1/imports",
        f"/v1/imports/{some}",
        f"/v1/imports/{some}/errors",
        f"/v1/imports/{some}/errors.csv",
    ):
        answer = await client.get(path, headers=reporter)
        assert (answer.status_code, answer.json()["code"]) == (403, "permission_missing"), path
        assert (await client.get(path)).status_code == 401, path
