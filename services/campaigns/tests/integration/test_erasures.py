"""Erasures: gone at once here, told to every service, confirmed by each, asked for again while one is silent."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import UUID

import httpx
import pytest
import sqlalchemy as sa

from posthorn_campaigns.bootstrap import Container
from posthorn_campaigns.domain.erasures import HoldingService
from posthorn_common.clock import SystemClock, new_id
from posthorn_common.events import event as new_event
from posthorn_common.testing import tables_that_hold
from posthorn_contracts.analytics.v1 import ErasedByAnalytics
from posthorn_contracts.campaigns.v1 import ContactErased
from posthorn_contracts.erasures import ErasureConfirmedData
from posthorn_contracts.mailer.v1 import ErasedByMailer
from posthorn_contracts.permissions import Role

from .campaign_support import Json, Office

pytestmark = pytest.mark.integration


@pytest.fixture
def office(client: httpx.AsyncClient, headers: Any, organisation_id: Any) -> Office:
    return Office(client, headers, organisation_id)


async def erase(office: Office, contact: Json, query: str = "") -> Json:
    answer = await office.client.delete(f"/v1/contacts/{contact['id']}{query}", headers=office.headers)
    assert answer.status_code == 202, answer.text
    erasure: Json = answer.json()
    assert answer.headers["location"] == f"/v1/erasures/{erasure['id']}"
    return erasure


async def requests(container: Container, office: Office) -> list[ContactErased]:
    query = sa.text("SELECT body FROM outbox WHERE event_type = :kind ORDER BY id")
    async with container.engine.connect() as connection:
        bodies = await connection.scalars(query, {"kind": ContactErased.event_type})
        found = [ContactErased.model_validate_json(body) for body in bodies]
    return [event for event in found if event.organisation_id == office.organisation_id]


def confirmation(office: Office, erasure: Json, kind: Any, **counts: int) -> Any:
    contact_id = UUID(erasure["contact_id"])
    data = ErasureConfirmedData(erasure_id=UUID(erasure["id"]), contact_id=contact_id, counts=counts)
    return new_event(kind, contact_id, office.organisation_id, data, SystemClock())


async def test_an_erasure_is_completed_when_every_service_has_confirmed(office: Office, container: Container) -> None:
    contact = await office.a_contact(await office.a_list())
    erasure = await erase(office, contact, "?reason=Art.%2017%20GDPR")
    assert (erasure["state"], erasure["waits_for"]) == ("running", ["mailer", "analytics"])
    assert (erasure["reason"], erasure["requested_by_kind"], erasure["completed_at"]) == ("Art. 17 GDPR", "user", None)
    (own,) = erasure["confirmations"]
    assert (own["service"], own["counts"]["contacts"], own["counts"]["subscriptions"]) == ("campaigns", 1, 1)
    (request,) = await requests(container, office)
    assert (str(request.data.erasure_id), str(request.data.contact_id)) == (erasure["id"], contact["id"])

    told = confirmation(office, erasure, ErasedByMailer, deliveries=3)
    for _ in range(2):
        await container.erasing.on_erased_by_mailer(told)
    await container.erasing.on_erased_by_mailer(confirmation(office, erasure, ErasedByMailer, deliveries=0))
    now = await office.get(f"/v1/erasures/{erasure['id']}")
    assert (now["state"], now["waits_for"]) == ("running", ["analytics"])
    assert now["confirmations"][1]["counts"] == {"deliveries": 3}, "the first confirmation counts"
    await container.erasing.on_erased_by_analytics(confirmation(office, erasure, ErasedByAnalytics, recipients=3))
    now = await office.get(f"/v1/erasures/{erasure['id']}")
    assert (now["state"], now["waits_for"]) == ("completed", [])
    assert now["completed_at"] is not None


async def test_nothing_of_the_address_is_left_but_a_keyed_hash(office: Office, container: Container) -> None:
    canary = f"canary.{new_id().hex}@example.com"
    list_id = await office.a_list()
    await office.post("/v1/contact-attributes", {"key": "mail", "type": "string", "indexed": True})
    await container.declaring_attributes.build_indexes()
    contact = await office.a_contact(list_id, email=canary, first_name="Canary", attributes={"mail": canary})
    await office.a_contact(list_id)
    for kind in ("csv", "ndjson"):
        export = await office.post("/v1/exports", {"format": kind}, status=202)
        await container.exporting.work_on(UUID(export["id"]), stop=asyncio.Event())
    holding = set(await tables_that_hold(container.engine, canary))
    assert {"contacts", "contact_attribute_values", "export_pieces"} <= holding

    erasure = await erase(office, contact)

    assert erasure["confirmations"][0]["counts"]["exports"] == 2
    assert await tables_that_hold(container.engine, canary) == ["erasures"], "while others have to find the person"
    for told in (confirmation(office, erasure, ErasedByMailer), confirmation(office, erasure, ErasedByAnalytics)):
        handle = container.erasing.on_erased_by_mailer
        if isinstance(told, ErasedByAnalytics):
            handle = container.erasing.on_erased_by_analytics  # type: ignore[assignment]
        await handle(told)
    assert await tables_that_hold(container.engine, canary) == []
    by_address = await office.get(f"/v1/erasures?email={canary.upper()}")
    assert [item["id"] for item in by_address["items"]] == [erasure["id"]], "the hash still tells that it was erased"
    assert (await office.get("/v1/erasures?email=other@example.com"))["items"] == []


async def test_an_address_across_two_pieces_of_an_export_is_found(office: Office, container: Container) -> None:
    contact = await office.a_contact(email="across@example.com")
    export = await office.post("/v1/exports", {}, status=202)
    kept = await office.post("/v1/exports", {}, status=202)
    await container.exporting.work_on(UUID(export["id"]), stop=asyncio.Event())
    async with container.engine.begin() as connection:
        moved = sa.text(
            "WITH cut AS (SELECT data, position('ross@' IN encode(data, 'escape')) AS at, organisation_id "
            "FROM export_pieces WHERE export_id = :id), more AS ("
            "INSERT INTO export_pieces (export_id, number, organisation_id, data) "
            "SELECT :id, 1, organisation_id, substr(data, at) FROM cut) "
            "UPDATE export_pieces SET data = substr(cut.data, 1, cut.at - 1) FROM cut WHERE export_id = :id"
        )
        await connection.execute(moved, {"id": UUID(export["id"])})
    assert "export_pieces" not in await tables_that_hold(container.engine, "across@example.com")
    await erase(office, contact)
    listed = await office.get("/v1/exports")
    assert [item["id"] for item in listed["items"]] == [kept["id"]]


async def test_an_export_at_work_does_not_keep_who_is_erased_meanwhile(office: Office, container: Container) -> None:
    contact = await office.a_contact(email="meanwhile@example.com")
    export = await office.post("/v1/exports", {"format": "ndjson"}, status=202)
    await asyncio.gather(container.exporting.work_on(UUID(export["id"]), stop=asyncio.Event()), erase(office, contact))
    assert "export_pieces" not in await tables_that_hold(container.engine, "meanwhile@example.com")


async def test_services_that_are_silent_are_asked_again_and_the_answer_says_which(
    office: Office, container: Container
) -> None:
    erasure = await erase(office, await office.a_contact())
    await container.erasing.ask_again()
    (first,) = await requests(container, office)
    await container.erasing.on_erased_by_analytics(confirmation(office, erasure, ErasedByAnalytics))

    async def wait_a_while() -> None:
        async with container.engine.begin() as connection:
            await connection.execute(
                sa.text("UPDATE erasures SET published_at = published_at - interval '1 hour' WHERE id = :id"),
                {"id": UUID(erasure["id"])},
            )

    await wait_a_while()
    await asyncio.gather(*(container.erasing.ask_again() for _ in range(3)))
    _, second = await requests(container, office)
    assert (second.data, second.id == first.id) == (first.data, False), "once, however many processes look"
    assert (await office.get(f"/v1/erasures/{erasure['id']}"))["waits_for"] == ["mailer"]
    await container.erasing.on_erased_by_mailer(confirmation(office, erasure, ErasedByMailer))
    await wait_a_while()
    await container.erasing.ask_again()
    assert len(await requests(container, office)) == 2, "nobody is asked about what is completed"


async def test_two_confirmations_at_once_complete_it_once(office: Office, container: Container) -> None:
    erasure = await erase(office, await office.a_contact())
    await asyncio.gather(
        container.erasing.on_erased_by_mailer(confirmation(office, erasure, ErasedByMailer)),
        container.erasing.on_erased_by_analytics(confirmation(office, erasure, ErasedByAnalytics)),
    )
    assert (await office.get(f"/v1/erasures/{erasure['id']}"))["state"] == "completed"
    query = sa.text("SELECT body::jsonb -> 'data' FROM outbox WHERE body LIKE '%_erasure\"%' AND body LIKE :id")
    async with container.engine.connect() as connection:
        (told,) = await connection.scalars(query, {"id": f"%{erasure['id']}%"})
    assert (told["action"], told["actor_kind"], told["resource_kind"]) == ("complete_erasure", "system", "erasure")


async def test_other_services_learn_the_address_until_all_have_confirmed(
    office: Office, container: Container, service_headers: Any
) -> None:
    contact = await office.a_contact()
    erasure = await erase(office, contact)
    path = f"/internal/erasures/{erasure['id']}"
    subject = (await office.client.get(path, headers=service_headers)).json()
    assert (subject["email"], subject["contact_id"]) == (contact["email"], contact["id"])
    assert (await office.client.get(path, headers=office.headers)).status_code == 401
    assert (await office.client.get(f"/internal/erasures/{new_id()}", headers=service_headers)).status_code == 404
    await container.erasing.on_erased_by_mailer(confirmation(office, erasure, ErasedByMailer))
    await container.erasing.on_erased_by_analytics(confirmation(office, erasure, ErasedByAnalytics))
    assert (await office.client.get(path, headers=service_headers)).json()["email"] is None


async def test_erasures_are_listed_newest_first_to_those_who_may_erase(
    office: Office, container: Container, sign_in: Any
) -> None:
    erased = [await erase(office, await office.a_contact()) for _ in range(3)]
    page = await office.get("/v1/erasures?limit=2")
    rest = await office.get(f"/v1/erasures?limit=2&cursor={page['next_cursor']}")
    assert [item["id"] for item in page["items"] + rest["items"]] == [each["id"] for each in reversed(erased)]
    stranger, path = sign_in(), f"/v1/erasures/{erased[0]['id']}"
    assert (await office.client.get(path, headers=stranger)).json()["code"] == "erasure_not_found"
    assert (await office.client.get("/v1/erasures", headers=stranger)).json()["items"] == []
    contact = await office.a_contact()
    editor = sign_in(office.organisation_id, Role.EDITOR)
    assert (await office.client.delete(f"/v1/contacts/{contact['id']}", headers=editor)).status_code == 403
    assert (await office.client.get(path, headers=editor)).status_code == 403
    # What another organisation says about it is not believed.
    forged = confirmation(office, erased[0], ErasedByMailer).model_copy(update={"organisation_id": new_id()})
    await container.erasing.on_erased_by_mailer(forged)
    assert (await office.get(path))["waits_for"] == [HoldingService.MAILER, HoldingService.ANALYTICS]


async def test_who_asked_for_an_erasure_is_told_to_the_audit_log(office: Office, container: Container) -> None:
    contact = await office.a_contact()
    erasure = await erase(office, contact)
    query = sa.text(
        "SELECT body::jsonb -> 'data' FROM outbox WHERE event_type = 'audit.action.recorded.v1' AND body LIKE :id"
    )
    async with container.engine.connect() as connection:
        told = list(await connection.scalars(query, {"id": f"%{contact['id']}%"}))
    assert [entry["action"] for entry in told] == ["add_contact", "erase_contact"]
    assert told[1]["actor_id"] == erasure["requested_by"]


async def test_a_contact_with_an_address_that_was_erased_is_a_new_one(office: Office) -> None:
    contact = await office.a_contact()
    await erase(office, contact)
    again = await office.a_contact(email=contact["email"])
    assert again["id"] != contact["id"]
    assert (await office.client.delete(f"/v1/contacts/{contact['id']}", headers=office.headers)).status_code == 404
