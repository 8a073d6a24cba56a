"""Who leaves a list: which campaigns are told to get them nothing any more."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import httpx
import pytest
import sqlalchemy as sa

from posthorn_campaigns.bootstrap import Container
from posthorn_common.clock import new_id
from posthorn_common.settings import secret_bytes
from posthorn_contracts.recipient_tokens import RecipientToken

from .campaign_support import Json, Office, drained, events_about, recorded

pytestmark = pytest.mark.integration


@pytest.fixture
def office(client: httpx.AsyncClient, headers: dict[str, str], organisation_id: Any) -> Office:
    return Office(client, headers, organisation_id)


async def leave(office: Office, container: Container, contact: Json, list_id: str) -> list[str]:
    """Take the contact off the list; return the campaigns that are told."""
    path = f"/v1/lists/{list_id}/contacts/{contact['id']}"
    for _ in range(2):
        assert (await office.client.delete(path, headers=office.headers)).status_code == 204
    told = [data for kind, data in await events_about(container, contact) if kind == "contact.unsubscribed"]
    assert told[-1]["list_ids"] == [list_id], "told once"
    return list(told[-1]["withdrawn_from"])


async def set_status(container: Container, campaign: Json, status: str, **times: str) -> None:
    also = "".join(f", {name} = now() + interval '{value}'" for name, value in times.items())
    async with container.engine.begin() as connection:
        statement = f"UPDATE campaigns SET status = :status{also} WHERE id = :id"
        await connection.execute(sa.text(statement), {"status": status, "id": UUID(campaign["id"])})


async def test_only_campaigns_that_reach_them_by_no_other_list_are_told(office: Office, container: Container) -> None:
    left, kept, asked_only = [await office.a_list() for _ in range(3)]
    contact = await office.a_contact(left, kept, asked_only)
    async with container.engine.begin() as connection:
        await connection.execute(
            sa.text("UPDATE subscriptions SET status = 'unconfirmed' WHERE list_id = :id"), {"id": UUID(asked_only)}
        )
    concerned = await office.a_started_campaign(container, list_ids=[left])
    also = await office.a_started_campaign(container, list_ids=[left, asked_only])
    await office.a_started_campaign(container, list_ids=[left, kept])
    await office.a_started_campaign(container, list_ids=[kept])
    await office.a_campaign(list_ids=[left])
    assert sorted(await leave(office, container, contact, left)) == sorted([concerned["id"], also["id"]])


async def test_who_is_reached_by_a_segment_only_is_not_concerned_and_with_a_list_besides_is(
    office: Office, container: Container
) -> None:
    list_id = await office.a_list()
    rule = {"field": "first_name", "is": "Ada"}
    segment = await office.post("/v1/segments", {"name": "Adas", "rule": rule})
    contact = await office.a_contact(list_id)
    template = await office.a_template()
    body = {"name": "S", "template_id": template["id"], "from_name": "A", "from_email": "post@example.com"}
    by_segment = await office.post("/v1/campaigns", {**body, "segment_ids": [segment["id"]]})
    await office.act(by_segment, "send")
    await container.starting_campaigns.start_due_campaigns()
    both = await office.a_started_campaign(container, list_ids=[list_id], segment_ids=[segment["id"]])
    assert (await office.campaign(by_segment))["status"] == "sending"
    assert await leave(office, container, contact, list_id) == [both["id"]]


@pytest.mark.parametrize(
    ("status", "times", "is_told"),
    [
        ("paused", {}, True),
        ("completed_with_errors", {"completed_at": "-29 days"}, True),
        ("completed_with_errors", {"completed_at": "-91 days"}, False),
        ("scheduled", {"scheduled_at": "1 second"}, True),
        ("scheduled", {"scheduled_at": "1 day"}, False),
        ("completed", {"completed_at": "-1 day"}, False),
        ("cancelled", {}, False),
    ],
)
async def test_campaigns_that_may_still_write_are_told(
    office: Office, container: Container, status: str, times: dict[str, str], is_told: bool
) -> None:
    list_id = await office.a_list()
    contact = await office.a_contact(list_id)
    campaign = await office.a_started_campaign(container, list_ids=[list_id])
    await set_status(container, campaign, status, **times)
    try:
        assert await leave(office, container, contact, list_id) == ([campaign["id"]] if is_told else [])
    finally:  # no other test's scheduler is to start it
        await set_status(container, campaign, "cancelled")


async def test_who_changes_lists_on_the_preference_page_keeps_campaigns_that_reach_them_by_the_new_one(
    office: Office, container: Container
) -> None:
    left = str((await office.post("/v1/lists", {"name": "Old", "is_public": True}))["id"])
    joined = str((await office.post("/v1/lists", {"name": "New", "is_public": True}))["id"])
    contact = await office.a_contact(left)
    await office.a_started_campaign(container, list_ids=[left, joined])
    concerned = await office.a_started_campaign(container, list_ids=[left])
    token = RecipientToken(new_id(), UUID(contact["id"])).sign(secret_bytes(container.settings.link_secret))
    body = {"action": "save", "list": [joined], "locale": ""}
    assert (await office.client.post(f"/preferences/{token}", data=body)).status_code == 200
    told = [data for kind, data in await events_about(container, contact) if kind == "contact.unsubscribed"]
    assert [data["withdrawn_from"] for data in told] == [[concerned["id"]]]


async def test_who_was_withdrawn_counts_as_suppressed(office: Office, container: Container) -> None:
    campaign = await office.a_started_campaign(container)
    await container.following_sends.on_deliveries_recorded(recorded(office, campaign, ("suppressed", None)))
    assert (await office.campaign(campaign))["counts"]["suppressed"] == 1
    await container.following_sends.on_send_drained(drained(office, campaign, suppressed=1))
    assert (await office.campaign(campaign))["status"] == "completed"
