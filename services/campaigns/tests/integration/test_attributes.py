"""Declared attributes through the API."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest

from posthorn_common.clock import new_id

from .campaign_support import Office

pytestmark = pytest.mark.integration


@pytest.fixture
def office(client: httpx.AsyncClient, headers: dict[str, str], organisation_id: Any) -> Office:
    return Office(client, headers, organisation_id)


async def declare(office: Office, key: str, kind: str, **fields: Any) -> Any:
    return await office.post("/v1/contact-attributes", {"key": key, "type": kind, **fields})


async def test_a_declaration_is_written_read_changed_and_withdrawn(office: Office, sign_in: Any) -> None:
    visits = await declare(office, "visits", "number", description="How often.")
    city = await declare(office, "city", "string")
    assert (await office.get("/v1/contact-attributes"))["items"] == [city, visits]
    path = f"/v1/contact-attributes/{visits['id']}"
    changed = await office.client.patch(path, json={"required": True}, headers=office.headers)
    assert changed.json() == {**visits, "required": True} == await office.get(path)
    stranger = sign_in()
    assert (await office.client.get("/v1/contact-attributes", headers=stranger)).json()["items"] == []
    for method in ("GET", "PATCH", "DELETE"):
        body = {} if method == "PATCH" else None
        answer = await office.client.request(method, path, json=body, headers=stranger)
        assert (answer.status_code, answer.json()["code"]) == (404, "attribute_not_found")
    assert (await office.client.delete(path, headers=office.headers)).status_code == 204
    assert (await office.client.get(path, headers=office.headers)).status_code == 404


async def test_a_key_is_declared_once_even_at_the_same_moment(office: Office) -> None:
    body = {"key": "city", "type": "string"}
    answers = await asyncio.gather(
        *(office.client.post("/v1/contact-attributes", json=body, headers=office.headers) for _ in range(4))
    )
    assert sorted(answer.status_code for answer in answers) == [201, 409, 409, 409]


@pytest.mark.parametrize(
    "body", [{"key": "a b", "type": "string"}, {"key": "a\n", "type": "string"}, {"key": "a", "type": "x"}]
)
async def test_a_declaration_that_makes_no_sense_is_refused(office: Office, body: Any) -> None:
    assert (await office.post("/v1/contact-attributes", body, status=422))["code"] == "invalid_request"


async def test_values_are_checked_where_they_are_written_and_stored_in_one_form(office: Office) -> None:
    await declare(office, "visits", "number", required=True)
    await declare(office, "seen", "datetime")
    problem = await office.post(
        "/v1/contacts", {"email": "a@example.com", "attributes": {"seen": "yesterday", "free": {"x": 1}}}, status=422
    )
    assert problem["code"] == "invalid_attributes"
    assert {(error["location"], error["code"]) for error in problem["errors"]} == {
        ("body.attributes.visits", "attribute_required"),
        ("body.attributes.seen", "attribute_type"),
    }
    contact = await office.a_contact(attributes={"visits": 3, "seen": "2026-05-01T02:00:00+02:00", "free": {"x": 1}})
    assert contact["attributes"] == {"visits": 3, "seen": "2026-05-01T00:00:00Z", "free": {"x": 1}}
    path = f"/v1/contacts/{contact['id']}"
    for attributes in ({"visits": None}, {"visits": "many"}):
        answer = await office.client.patch(path, json={"attributes": attributes}, headers=office.headers)
        assert (answer.status_code, answer.json()["errors"][0]["location"]) == (422, "body.attributes.visits")
    changed = await office.client.patch(path, json={"attributes": {"seen": None}}, headers=office.headers)
    assert changed.json()["attributes"] == {"visits": 3, "free": {"x": 1}}


async def test_a_contact_from_before_the_declaration_can_still_be_changed(office: Office) -> None:
    contact = await office.a_contact(attributes={"visits": "many"})
    await declare(office, "visits", "number", required=True)
    path = f"/v1/contacts/{contact['id']}"
    changed = await office.client.patch(path, json={"first_name": "Grace"}, headers=office.headers)
    assert (changed.status_code, changed.json()["attributes"]) == (200, {"visits": "many"})


async def test_an_attribute_that_cannot_be_stored_is_named(office: Office) -> None:
    problem = await office.post("/v1/contacts", {"email": "a@example.com", "attributes": {"x": 2**63}}, status=422)
    assert problem["errors"][0]["location"] == "body.attributes.x"


async def test_locale_and_time_zone_are_checked_stored_and_emptied(office: Office) -> None:
    contact = await office.a_contact(locale="pt-br", time_zone="America/Sao_Paulo")
    assert (contact["locale"], contact["time_zone"]) == ("pt-BR", "America/Sao_Paulo")
    path = f"/v1/contacts/{contact['id']}"
    changed = await office.client.patch(path, json={"locale": "", "time_zone": "Asia/Tokyo"}, headers=office.headers)
    assert (changed.json()["locale"], changed.json()["time_zone"]) == (None, "Asia/Tokyo")
    for wrong in ({"locale": "x"}, {"time_zone": "Mars/Base"}, {"time_zone": "../etc/passwd"}):
        body = {"email": f"{new_id()}@example.com", **wrong}
        assert (await office.post("/v1/contacts", body, status=422))["code"] == "invalid_request"
