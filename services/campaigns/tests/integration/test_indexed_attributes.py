"""Attributes with an index: what it costs nobody to find, whoever writes meanwhile."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import UUID

import httpx
import pytest
import sqlalchemy as sa

from posthorn_campaigns.adapters.db import rule_indexes
from posthorn_campaigns.adapters.db.audiences import count_query
from posthorn_campaigns.adapters.db.rule_indexes import narrowing_of, searched
from posthorn_campaigns.app import declaring_attributes
from posthorn_campaigns.bootstrap import Container
from posthorn_campaigns.domain.attributes import AttributeType
from posthorn_campaigns.domain.reading_rules import read_rule
from posthorn_common.clock import SystemClock

from .campaign_support import Office
from .plan_support import nodes_of, plan_of

pytestmark = pytest.mark.integration
NOW = SystemClock().now()
INDEX = "ix_contact_attribute_values_number_value"


@pytest.fixture
def office(client: httpx.AsyncClient, headers: dict[str, str], organisation_id: Any) -> Office:
    return Office(client, headers, organisation_id)


async def declare(office: Office, key: str, kind: str, **fields: Any) -> Any:
    return await office.post("/v1/contact-attributes", {"key": key, "type": kind, "indexed": True, **fields})


async def built(container: Container, office: Office, declared: Any, eventually: Any) -> None:
    """Build the index; other tests' transactions may keep it waiting."""
    path = f"/v1/contact-attributes/{declared['id']}"

    async def look() -> bool:
        await container.declaring_attributes.build_indexes()
        return bool((await office.get(path))["index_ready"])

    await eventually(look)


async def found(office: Office, rule: Any) -> set[str]:
    preview = await office.post("/v1/segments/preview", {"rule": rule, "sample": 10}, status=200)
    return {one["email"].partition("@")[0] for one in preview["sample"]}


async def indexed_values(container: Container, contact_id: str) -> list[Any]:
    query = sa.text(
        "SELECT coalesce(to_jsonb(text_value), to_jsonb(number_value)) FROM contact_attribute_values "
        "WHERE contact_id = :id"
    )
    async with container.engine.connect() as connection:
        return list(await connection.scalars(query, {"id": UUID(contact_id)}))


async def plan(container: Container, organisation_id: UUID, rule: Any, kind: AttributeType) -> set[Any]:
    """Return the indexes that counting by a rule uses."""
    read = read_rule(rule, {"number": kind}).rule
    async with container.engine.connect() as connection:
        narrowing = await narrowing_of(connection, organisation_id, read, NOW)
        query = count_query(organisation_id, searched(read, NOW, narrowing))
        return {node.get("Index Name") for node in nodes_of(await plan_of(connection, query))}


async def test_counts_by_an_indexed_attribute_use_its_index(
    office: Office, container: Container, organisation_id: UUID, eventually: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill = sa.text(
        "INSERT INTO contacts (id, organisation_id, email, first_name, last_name, attributes, status, created_at, "
        "updated_at) SELECT gen_random_uuid(), :organisation, n || '@example.com', '', '', "
        "jsonb_build_object('number', n), 'active', now(), now() FROM generate_series(1, 12000) AS n"
    )
    async with container.engine.begin() as connection:
        await connection.execute(fill, {"organisation": organisation_id})
    declared = await declare(office, "number", "number")
    assert (declared["indexed"], declared["index_ready"]) == (True, False)
    assert await found(office, {"attribute": "number", "is": 7}) == {"7"}, "without the index all the same"
    await built(container, office, declared, eventually)
    async with container.engine.connect() as connection:
        autocommit = await connection.execution_options(isolation_level="AUTOCOMMIT")
        await autocommit.execute(sa.text("ANALYZE contacts, contact_attribute_values"))
    for rule in (
        {"attribute": "number", "is": 7},
        {"attribute": "number", "in": [1, 2]},
        {"all": [{"attribute": "number", "at_least": 11_990}, {"field": "status", "is": "active"}]},
        {"any": [{"attribute": "number", "less_than": 3}, {"attribute": "number", "is": 77}]},
    ):
        assert INDEX in await plan(container, organisation_id, rule, AttributeType.NUMBER), rule
    assert await found(office, {"attribute": "number", "less_than": 4}) == {"1", "2", "3"}
    assert await found(office, {"any": [{"attribute": "number", "at_most": 1}, {"attribute": "number", "is": 5}]}) == {
        "1",
        "5",
    }
    for rule in ({"not": {"attribute": "number", "is": 7}}, {"attribute": "number", "exists": True}):
        assert INDEX not in await plan(container, organisation_id, rule, AttributeType.NUMBER), rule
    monkeypatch.setattr(rule_indexes, "_FEW", 10_000)
    many = {"all": [{"attribute": "number", "at_least": 2_000}]}
    assert INDEX not in await plan(container, organisation_id, many, AttributeType.NUMBER), "reading all is cheaper"
    for count in (10_000, 10_001):
        preview = {"rule": {"attribute": "number", "at_most": count}, "sample": 1}
        assert (await office.post("/v1/segments/preview", preview, status=200))["contacts"] == count


async def test_an_index_follows_every_way_in_which_contacts_are_written(
    office: Office, container: Container, eventually: Any
) -> None:
    plans = await declare(office, "plan", "string")
    await built(container, office, plans, eventually)
    ada = await office.a_contact(email="ada@example.com", attributes={"plan": "pro"})
    bulk = [{"email": f"{name}@example.com", "attributes": {"plan": "pro"}} for name in ("bob", "eve")]
    await office.post("/v1/contacts/bulk", {"contacts": bulk}, status=200)
    content = b"email,plan\ncleo@example.com,pro\neve@example.com,free\n"
    answer = await office.client.post(
        "/v1/imports", content=content, headers={**office.headers, "Content-Type": "text/csv"}
    )
    await container.importing.work_on(UUID(answer.json()["id"]), stop=asyncio.Event())
    assert await found(office, {"attribute": "plan", "is": "pro"}) == {"ada", "bob", "cleo"}
    assert await found(office, {"attribute": "plan", "in": ["free", "none"]}) == {"eve"}
    path = f"/v1/contacts/{ada['id']}"
    for value, expected in (("free", {"ada", "eve"}), (None, {"eve"}), ("free", {"ada", "eve"})):
        answer = await office.client.patch(path, json={"attributes": {"plan": value}}, headers=office.headers)
        assert answer.status_code == 200
        assert await found(office, {"attribute": "plan", "is": "free"}) == expected
        assert await indexed_values(container, ada["id"]) == ([value] if value else [])
    assert (await office.client.delete(path, headers=office.headers)).status_code == 202
    assert await indexed_values(container, ada["id"]) == [], "nothing is kept of who is erased"


async def test_long_texts_and_values_of_another_type_are_found_as_without_an_index(
    office: Office, container: Container, eventually: Any
) -> None:
    long = "é" * 400
    for name, value in (("a", long), ("b", long + "!"), ("c", "é" * 100), ("d", 5), ("e", True), ("f", "é" * 9000)):
        await office.a_contact(email=f"{name}@example.com", attributes={"note": value})
    await built(container, office, await declare(office, "note", "string"), eventually)
    assert await found(office, {"attribute": "note", "is": long}) == {"a"}
    assert await found(office, {"attribute": "note", "in": [long + "!", "é" * 100]}) == {"b", "c"}
    assert await found(office, {"attribute": "note", "is": "5"}) == set()


async def test_numbers_that_the_index_rounds_are_told_apart(
    office: Office, container: Container, eventually: Any
) -> None:
    for name, value in (("a", 2**53), ("b", 2**53 + 1), ("c", 2**53 + 2)):
        await office.a_contact(email=f"{name}@example.com", attributes={"number": value})
    await built(container, office, await declare(office, "number", "number"), eventually)
    for operator, expected in (("is", {"b"}), ("less_than", {"a"}), ("at_least", {"b", "c"}), ("more_than", {"c"})):
        assert await found(office, {"attribute": "number", operator: 2**53 + 1}) == expected, operator


async def test_what_was_being_written_when_the_attribute_was_declared_is_in_the_index(
    office: Office, container: Container, organisation_id: UUID, eventually: Any
) -> None:
    """Its transaction has not seen the declaration: the index is filled only after its end."""
    insert = sa.text(
        "INSERT INTO contacts (id, organisation_id, email, first_name, last_name, attributes, status, created_at, "
        "updated_at) VALUES (gen_random_uuid(), :organisation, 'late@example.com', '', '', "
        """'{"plan": "pro"}', 'active', now(), now())"""
    )
    async with container.engine.begin() as connection:
        await connection.execute(insert, {"organisation": organisation_id})
        declared = await declare(office, "plan", "string")
        for _ in range(3):
            await container.declaring_attributes.build_indexes()
        assert not (await office.get(f"/v1/contact-attributes/{declared['id']}"))["index_ready"]
    await built(container, office, declared, eventually)
    assert await found(office, {"attribute": "plan", "is": "pro"}) == {"late"}


async def test_an_index_is_right_whatever_is_written_while_two_processes_fill_it(
    office: Office, container: Container, eventually: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(declaring_attributes, "_STEP_ROWS", 3)
    contacts = [
        await office.a_contact(email=f"c{number}@example.com", attributes={"visits": number}) for number in range(12)
    ]
    declared = await declare(office, "visits", "number")

    async def write(number: int) -> None:
        path = f"/v1/contacts/{contacts[number]['id']}"
        for value in (100 + number, None, 200 + number):
            body = {"attributes": {"visits": value}}
            assert (await office.client.patch(path, json=body, headers=office.headers)).status_code == 200

    async def fill() -> None:
        for _ in range(6):
            await container.declaring_attributes.build_indexes()

    await asyncio.gather(fill(), fill(), *(write(number) for number in range(0, 12, 2)))
    await built(container, office, declared, eventually)
    for number, contact in enumerate(contacts):
        expected = number if number % 2 else 200 + number
        assert await indexed_values(container, contact["id"]) == [expected]
        assert await found(office, {"attribute": "visits", "is": expected}) == {f"c{number}"}


async def test_an_index_is_dropped_with_its_values_and_can_be_built_again(
    office: Office, container: Container, eventually: Any
) -> None:
    contact = await office.a_contact(email="ada@example.com", attributes={"plan": "pro"})
    declared = await declare(office, "plan", "string")
    await built(container, office, declared, eventually)
    path = f"/v1/contact-attributes/{declared['id']}"

    async def index(wanted: bool) -> Any:
        return (await office.client.patch(path, json={"indexed": wanted}, headers=office.headers)).json()

    dropped = await index(wanted=False)
    assert (dropped["indexed"], dropped["index_ready"]) == (False, False)
    answer = await office.client.patch(
        f"/v1/contacts/{contact['id']}", json={"attributes": {"plan": "free"}}, headers=office.headers
    )
    assert answer.status_code == 200
    again = await index(wanted=True)
    assert (again["indexed"], again["index_ready"]) == (True, False)
    await built(container, office, declared, eventually)
    assert await found(office, {"attribute": "plan", "is": "free"}) == {"ada"}
    assert (await office.client.delete(path, headers=office.headers)).status_code == 204

    await container.declaring_attributes.build_indexes()
    assert await indexed_values(container, contact["id"]) != [], "somebody may be reading it"
    async with container.engine.begin() as connection:
        await connection.execute(
            sa.text("UPDATE dropped_attribute_indexes SET dropped_at = now() - interval '3 minutes'")
        )

    async def cleared() -> bool:
        await container.declaring_attributes.build_indexes()
        return await indexed_values(container, contact["id"]) == []

    await eventually(cleared)


async def test_five_attributes_are_indexed_at_most_and_no_lists(office: Office) -> None:
    answers = await asyncio.gather(
        *(
            office.client.post(
                "/v1/contact-attributes",
                json={"key": f"a{number}", "type": "string", "indexed": True},
                headers=office.headers,
            )
            for number in range(7)
        )
    )
    assert sorted(answer.status_code for answer in answers) == [201] * 5 + [409] * 2
    assert {answer.json()["code"] for answer in answers if answer.status_code == 409} == {"too_many_indexed"}
    plain = await declare(office, "plain", "string", indexed=False)
    for body, status in (({"indexed": True}, 409), ({"indexed": False}, 200)):
        path = f"/v1/contact-attributes/{plain['id']}"
        assert (await office.client.patch(path, json=body, headers=office.headers)).status_code == status
    problem = await office.post("/v1/contact-attributes", {"key": "l", "type": "list", "indexed": True}, status=422)
    assert problem["code"] == "attribute_not_indexable"
