"""What people make and order here is told to the audit log, by its id; and what Posthorn does by itself."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
import sqlalchemy as sa

from posthorn_campaigns.bootstrap import Container

from .campaign_support import Json, Office

pytestmark = pytest.mark.integration


@pytest.fixture
def office(client: httpx.AsyncClient, headers: Any, organisation_id: Any) -> Office:
    return Office(client, headers, organisation_id)


async def told(container: Container, office: Office) -> list[Json]:
    query = sa.text(
        "SELECT body::jsonb -> 'data' FROM outbox WHERE event_type = 'audit.action.recorded.v1' "
        "AND body::jsonb ->> 'organisation_id' = :organisation ORDER BY id"
    )
    async with container.engine.connect() as connection:
        return list(await connection.scalars(query, {"organisation": str(office.organisation_id)}))


async def test_whatever_is_made_is_told_by_its_own_id(office: Office, container: Container) -> None:
    list_id = await office.a_list()
    contact = await office.a_contact(list_id)
    rule = {"list": list_id}
    segment = await office.post("/v1/segments", {"name": "Readers", "rule": rule})
    template = await office.a_template()
    campaign = await office.a_campaign(template_id=template["id"], list_ids=[list_id])
    copy = await office.act(campaign, "duplicate", status=201)
    export = await office.post("/v1/exports", {"list_id": list_id}, status=202)
    made = [(data["action"], data["resource_kind"], data["resource_id"]) for data in await told(container, office)]
    assert made == [
        ("add_list", "list", list_id),
        ("add_contact", "contact", contact["id"]),
        ("add_segment", "segment", segment["id"]),
        ("create_template", "template", template["id"]),
        ("create_campaign", "campaign", campaign["id"]),
        ("duplicate_campaign", "campaign", copy["id"]),
        ("export_contacts", "export", export["id"]),
    ]


async def test_who_orders_and_what_a_schedule_does_are_told_apart(office: Office, container: Container) -> None:
    campaign = await office.a_started_campaign(container)
    await office.act(campaign, "pause")
    orders = [
        (data["action"], data["actor_kind"], data["actor_id"] is None)
        for data in await told(container, office)
        if data["resource_id"] == campaign["id"]
    ]
    assert orders == [
        ("create_campaign", "user", False),
        ("send_campaign", "user", False),
        ("start_campaign", "system", True),
        ("pause_campaign", "user", False),
    ]


async def test_a_scheduler_that_finds_nothing_tells_nothing(office: Office, container: Container) -> None:
    before = await told(container, office)
    await container.starting_campaigns.start_due_campaigns()
    assert await told(container, office) == before
