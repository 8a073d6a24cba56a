"""What has happened with a contact."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from posthorn_campaigns.app.receiving_imports import NewImport
from posthorn_campaigns.bootstrap import Container
from posthorn_campaigns.domain.imports import ImportMode
from posthorn_common.clock import new_id
from posthorn_contracts.analytics.v1 import Engagement, EngagementKind, EngagementsRecorded, EngagementsRecordedData
from posthorn_contracts.mailer.v1 import DeliveriesRecorded, DeliveriesRecordedData, DeliveryOutcome, DeliveryRecord

from .campaign_support import Office, told

pytestmark = pytest.mark.integration


@pytest.fixture
def office(client: httpx.AsyncClient, headers: dict[str, str], organisation_id: Any) -> Office:
    return Office(client, headers, organisation_id)


async def deliver(office: Office, container: Container, *contact_ids: str, at: datetime, times: int = 1) -> UUID:
    campaign_id = new_id()
    records = tuple(
        DeliveryRecord(contact_id=UUID(each), outcome=DeliveryOutcome.SENT, domain="example.com", at=at)
        for each in contact_ids
    )
    data = DeliveriesRecordedData(campaign_id=campaign_id, records=records)
    event = told(DeliveriesRecorded, office, str(campaign_id), data)
    for _ in range(times):
        await container.following_sends.on_deliveries_recorded(event)
    return campaign_id


async def test_a_timeline_tells_newest_first_what_has_happened_once(
    office: Office, container: Container, sign_in: Any
) -> None:
    list_id, now = await office.a_list(), datetime.now(UTC)
    contact = await office.a_contact(list_id)
    campaign_id = await deliver(office, container, contact["id"], str(uuid4()), at=now + timedelta(seconds=1), times=2)
    engagements = tuple(
        Engagement(contact_id=UUID(contact["id"]), kind=kind, at=now + timedelta(seconds=second))
        for kind, second in ((EngagementKind.CLICK, 3), (EngagementKind.OPEN, 2))
    )
    data = EngagementsRecordedData(campaign_id=campaign_id, engagements=engagements)
    event = told(EngagementsRecorded, office, str(campaign_id), data)
    for _ in range(2):
        await container.following_sends.on_engagements_recorded(event)
    path = f"/v1/contacts/{contact['id']}/timeline"
    items = (await office.get(path))["items"]
    about = str(campaign_id)
    assert [(item["kind"], item["campaign_id"], item["list_id"]) for item in items] == [
        ("clicked", about, None),
        ("opened", about, None),
        ("sent", about, None),
        ("subscribed", None, list_id),
    ]
    pages, cursor = [], ""
    while cursor is not None:
        page = await office.get(f"{path}?limit=1{cursor}")
        pages += page["items"]
        cursor = f"&cursor={page['next_cursor']}" if page["next_cursor"] else None
    assert pages == items
    assert (await office.client.get(path, headers=sign_in())).status_code == 404
    assert (await office.client.get(f"{path}?cursor=WzFd", headers=office.headers)).status_code == 400


async def test_leaving_everything_is_told_with_the_rest(office: Office) -> None:
    contact = await office.a_contact()
    for _ in range(2):
        await office.post(f"/v1/contacts/{contact['id']}/actions/unsubscribe", status=200)
    items = (await office.get(f"/v1/contacts/{contact['id']}/timeline"))["items"]
    assert [item["kind"] for item in items] == ["unsubscribed_from_all"]


async def _import(container: Container, office: Office, list_id: str, content: str, **fields: Any) -> None:
    async def blocks() -> AsyncIterator[bytes]:
        yield content.encode()

    wanted = NewImport(list_id=UUID(list_id), mode=ImportMode.UPSERT, **fields)
    job = await container.receiving_imports.receive(office.organisation_id, wanted, blocks())
    await container.importing.work_on(job.id, stop=asyncio.Event())


async def test_what_imports_and_bulk_requests_change_is_told_once(office: Office, container: Container) -> None:
    list_id, other_id = await office.a_list(), await office.a_list()
    content = "email\na@example.com\nb@example.com\n"
    bulk = {"contacts": [{"email": "a@example.com"}, {"email": "b@example.com"}], "list_ids": [other_id]}
    for _ in range(2):
        await _import(container, office, list_id, content)
        await office.post("/v1/contacts/bulk", bulk, status=200)
    found = (await office.get(f"/v1/contacts?list_id={list_id}"))["items"]
    assert len(found) == 2
    for contact in found:
        history = (await office.get(f"/v1/contacts/{contact['id']}/subscription-history"))["items"]
        assert [(item["list_id"], item["status"], item["method"]) for item in history] == [
            (other_id, "subscribed", "api"),
            (list_id, "subscribed", "import"),
        ]
    ada = next(contact["id"] for contact in found if contact["email"] == "a@example.com")
    await office.client.delete(f"/v1/lists/{list_id}/contacts/{ada}", headers=office.headers)
    await office.post(f"/v1/contacts/{ada}/actions/unsubscribe", status=200)
    await _import(container, office, list_id, content)
    timeline = f"/v1/contacts/{ada}/timeline"
    kinds = [item["kind"] for item in (await office.get(timeline))["items"]]
    assert kinds == ["unsubscribed_from_all", "unsubscribed", "subscribed", "subscribed"], "nothing was lifted"
    await _import(container, office, list_id, content, lift_reason="They signed up again")
    kinds = [item["kind"] for item in (await office.get(timeline))["items"]]
    assert sorted(kinds[:2]) == ["resubscribed", "subscribed"]
    assert kinds[2:] == ["unsubscribed_from_all", "unsubscribed", "subscribed", "subscribed"]
    [last, *_] = (await office.get(f"/v1/contacts/{ada}/subscription-history"))["items"]
    assert (last["status"], last["method"]) == ("subscribed", "import")


async def test_coming_back_by_the_api_is_told(office: Office) -> None:
    contact = await office.a_contact()
    for action in ("unsubscribe", "resubscribe", "resubscribe"):
        await office.post(f"/v1/contacts/{contact['id']}/actions/{action}", status=200)
    items = (await office.get(f"/v1/contacts/{contact['id']}/timeline"))["items"]
    assert [item["kind"] for item in items] == ["resubscribed", "unsubscribed_from_all"]


async def test_what_is_old_is_dropped(office: Office, container: Container) -> None:
    contact, now = await office.a_contact(), datetime.now(UTC)
    await deliver(office, container, contact["id"], at=now - timedelta(days=11))
    await deliver(office, container, contact["id"], at=now - timedelta(days=9))
    assert await container.managing_contacts.purge_timelines(timedelta(days=10)) >= 1
    assert len((await office.get(f"/v1/contacts/{contact['id']}/timeline"))["items"]) == 1
