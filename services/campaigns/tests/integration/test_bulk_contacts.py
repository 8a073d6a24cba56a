"""Many contacts by one request."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import uuid4

import httpx
import pytest

from .campaign_support import Office

pytestmark = pytest.mark.integration


@pytest.fixture
def office(client: httpx.AsyncClient, headers: dict[str, str], organisation_id: Any) -> Office:
    return Office(client, headers, organisation_id)


async def write(office: Office, *contacts: Any, **fields: Any) -> Any:
    return await office.post("/v1/contacts/bulk", {"contacts": list(contacts), **fields}, status=200)


def results(answer: Any) -> list[str]:
    assert [row["row"] for row in answer["results"]] == list(range(len(answer["results"])))
    return [row["result"] for row in answer["results"]]


async def test_rows_are_added_changed_left_or_rejected_each_for_itself(office: Office) -> None:
    await office.post("/v1/contact-attributes", {"key": "visits", "type": "number"})
    ada = await office.a_contact(email="ada@example.com", attributes={"visits": 1, "city": "Rome"})
    same = await office.a_contact(email="same@example.com", attributes={"visits": 1})
    list_id = await office.a_list()
    answer = await write(
        office,
        {"email": "ADA@example.com", "attributes": {"visits": 2, "city": None}},
        {"email": "nobody"},
        {"email": "new@example.com", "first_name": "New", "locale": "de"},
        {"email": "same@example.com", "attributes": {"visits": 1}},
        {"email": "wrong@example.com", "attributes": {"visits": "many"}},
        {"email": "new@example.com"},
        {"email": "odd@example.com", "status": "active"},
        {"email": "big@example.com", "attributes": {"a b": 1}},
        list_ids=[list_id],
    )
    assert results(answer) == [
        "updated", "rejected", "created", "unchanged", "rejected", "rejected", "rejected", "rejected",
    ]  # fmt: skip
    assert answer["counts"] == {"created": 1, "updated": 1, "unchanged": 1, "rejected": 5}
    errors = [row["errors"][0] for row in answer["results"] if row["result"] == "rejected"]
    assert [(error["location"], error["code"]) for error in errors] == [
        ("email", "invalid_email"),
        ("attributes.visits", "attribute_type"),
        ("email", "duplicate_email"),
        ("status", "extra_forbidden"),
        ("attributes", "invalid_attributes"),
    ]
    changed = await office.get(f"/v1/contacts/{ada['id']}")
    assert (changed["attributes"], changed["first_name"], changed["list_ids"]) == ({"visits": 2}, "Ada", [list_id])
    assert answer["results"][3]["id"] == same["id"]
    new = await office.get(f"/v1/contacts/{answer['results'][2]['id']}")
    assert (new["first_name"], new["locale"], new["list_ids"]) == ("New", "de", [list_id])


async def test_modes_choose_between_known_and_new(office: Office) -> None:
    ada = await office.a_contact(email="ada@example.com")
    rows = ({"email": "ada@example.com", "first_name": "X"}, {"email": "bob@example.com"})
    assert results(await write(office, *rows, mode="create_only")) == ["unchanged", "created"]
    assert (await office.get(f"/v1/contacts/{ada['id']}"))["first_name"] == "Ada"
    rows = ({"email": "ada@example.com", "first_name": "X"}, {"email": "cy@example.com"})
    assert results(await write(office, *rows, mode="update_only")) == ["updated", "rejected"]


async def test_nobody_comes_back_who_has_left(office: Office) -> None:
    list_id = await office.a_list()
    left, gone = await office.a_contact(list_id), await office.a_contact(list_id)
    await office.client.delete(f"/v1/lists/{list_id}/contacts/{left['id']}", headers=office.headers)
    await office.post(f"/v1/contacts/{gone['id']}/actions/unsubscribe", status=200)
    rows = [{"email": contact["email"], "last_name": "Changed"} for contact in (left, gone)]
    assert results(await write(office, *rows, list_ids=[list_id])) == ["updated", "updated"]
    assert (await office.get(f"/v1/contacts/{left['id']}"))["list_ids"] == []
    assert (await office.get(f"/v1/contacts/{gone['id']}"))["status"] == "unsubscribed"


async def test_ten_thousand_are_taken_twice_and_one_more_is_refused(office: Office) -> None:
    list_id, run = await office.a_list(), uuid4()
    rows = [{"email": f"{n}.{run}@example.com", "attributes": {"n": n}} for n in range(10_000)]
    first, again = [await write(office, *rows, list_ids=[list_id]) for _ in range(2)]
    assert (first["counts"]["created"], again["counts"]["unchanged"]) == (10_000, 10_000)
    assert (await office.get(f"/v1/lists/{list_id}"))["contact_count"] == 10_000
    changed = await write(office, *({**row, "attributes": {"n": -1}} for row in rows))
    assert changed["counts"]["updated"] == 10_000
    refused = await office.post("/v1/contacts/bulk", {"contacts": [*rows, rows[0]]}, status=422)
    assert refused["code"] == "invalid_request"


async def test_requests_at_the_same_moment_add_each_address_once(office: Office) -> None:
    rows = [{"email": f"{uuid4()}@example.com"} for _ in range(50)]
    answers = await asyncio.gather(write(office, *rows), write(office, *reversed(rows)), write(office, *rows))
    assert sum(answer["counts"]["created"] for answer in answers) == 50
    assert len((await office.get("/v1/contacts?limit=500"))["items"]) == 50


async def test_lists_of_others_are_not_there(office: Office, sign_in: Any) -> None:
    theirs = await Office(office.client, sign_in(), uuid4()).a_list()
    body = {"contacts": [{"email": "a@example.com"}], "list_ids": [theirs]}
    assert (await office.post("/v1/contacts/bulk", body, status=422))["code"] == "unknown_reference"
    assert (await office.get("/v1/contacts"))["items"] == []
