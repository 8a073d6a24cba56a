"""Segments through the API, and as the audience of campaigns."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
import sqlalchemy as sa

from posthorn_campaigns.adapters.db.audiences import audience_query, count_query
from posthorn_campaigns.adapters.db.rules import condition
from posthorn_campaigns.bootstrap import Container
from posthorn_campaigns.domain.reading_rules import read_rule
from posthorn_campaigns.domain.segments import Audience
from posthorn_common.clock import new_id
from posthorn_contracts.analytics.v1 import Engagement, EngagementKind, EngagementsRecorded, EngagementsRecordedData
from posthorn_contracts.mailer.v1 import DeliveriesRecorded, DeliveriesRecordedData, DeliveryOutcome, DeliveryRecord
from posthorn_contracts.permissions import Role

from .campaign_support import Office, told
from .plan_support import nodes_of, plan_of, sequential_scans

pytestmark = pytest.mark.integration
NOW = datetime(2026, 3, 10, 12, 30, tzinfo=UTC)


@pytest.fixture
def office(client: httpx.AsyncClient, headers: dict[str, str], organisation_id: Any) -> Office:
    return Office(client, headers, organisation_id)


async def segment(office: Office, rule: Any, name: str = "Some") -> str:
    return str((await office.post("/v1/segments", {"name": name, "rule": rule}))["id"])


async def change(office: Office, segment_id: str, body: Any) -> httpx.Response:
    return await office.client.patch(f"/v1/segments/{segment_id}", json=body, headers=office.headers)


async def delete(office: Office, path: str) -> tuple[int, str | None]:
    answer = await office.client.delete(path, headers=office.headers)
    return answer.status_code, answer.json()["code"] if answer.content else None


async def audience(office: Office, service_headers: dict[str, str], campaign: Any) -> list[str]:
    answer = await office.client.get(f"/internal/campaigns/{campaign['id']}/audience", headers=service_headers)
    assert answer.status_code == 200, answer.text
    return [member["contact_id"] for member in answer.json()["members"]]


async def test_a_segment_is_written_read_listed_changed_and_deleted(office: Office, sign_in: Any) -> None:
    rule = {"field": "domain", "is": "example.com"}
    first = await office.post("/v1/segments", {"name": "First", "description": "x", "rule": rule})
    second = await segment(office, {"not": {"segment": first["id"]}})
    assert first["rule"] == rule
    page = await office.get("/v1/segments?limit=1")
    assert page["items"] == [first]
    assert [item["id"] for item in (await office.get(f"/v1/segments?cursor={page['next_cursor']}"))["items"]] == [
        second
    ]
    changed = (await change(office, first["id"], {"name": "Other"})).json()
    assert (changed["name"], changed["description"], changed["rule"]) == ("Other", "x", rule)
    path = f"/v1/segments/{first['id']}"
    for method in ("GET", "PATCH", "DELETE"):
        body = {} if method == "PATCH" else None
        answer = await office.client.request(method, path, json=body, headers=sign_in())
        assert (answer.status_code, answer.json()["code"]) == (404, "segment_not_found")
    viewer = sign_in(office.organisation_id, Role.VIEWER)
    assert (await office.client.get(path, headers=viewer)).status_code == 200
    assert (await office.client.patch(path, json={}, headers=viewer)).status_code == 403
    assert await delete(office, path) == (409, "segment_in_use")
    assert await delete(office, f"/v1/segments/{second}") == (204, None)
    assert await delete(office, path) == (204, None)
    assert await delete(office, path) == (404, "segment_not_found")


async def test_a_rule_that_makes_no_sense_is_pointed_at(office: Office, sign_in: Any) -> None:
    strangers = Office(office.client, sign_in(), new_id())
    their_list, their_segment = await strangers.a_list(), await segment(strangers, {"all": []})
    rule = {"all": [{"attribute": "plan", "is": "pro"}, {"field": "email", "before": 5}]}
    refused = await office.post("/v1/segments", {"name": "x", "rule": rule}, status=422)
    assert refused["code"] == "invalid_rule"
    assert [(error["pointer"], error["location"], error["code"]) for error in refused["errors"]] == [
        ("/rule/all/0/attribute", "body.rule.all.0.attribute", "unknown_attribute"),
        ("/rule/all/1/before", "body.rule.all.1.before", "unknown_operator"),
    ]
    rule = {"all": [{"list": their_list}, {"not": {"segment": their_segment}}]}
    for path in ("/v1/segments", "/v1/segments/preview"):
        body = {"rule": rule} | ({"name": "x"} if path == "/v1/segments" else {})
        refused = await office.post(path, body, status=422)
        assert [(error["pointer"], error["code"]) for error in refused["errors"]] == [
            ("/rule/all/0/list", "unknown_list"),
            ("/rule/all/1/not/segment", "unknown_segment"),
        ]


async def test_segments_cannot_lead_back_to_themselves_even_when_changed_at_once(office: Office) -> None:
    one, two = await segment(office, {"all": []}), await segment(office, {"all": []})
    refused = (await change(office, one, {"rule": {"not": {"segment": one}}})).json()
    assert [(error["pointer"], error["code"]) for error in refused["errors"]] == [
        ("/rule/not/segment", "segment_cycle")
    ]
    answers = await asyncio.gather(
        change(office, one, {"rule": {"segment": two}}), change(office, two, {"rule": {"segment": one}})
    )
    assert sorted(answer.status_code for answer in answers) == [200, 422]


async def test_a_preview_counts_and_shows_some(office: Office) -> None:
    await office.post("/v1/contact-attributes", {"key": "plan", "type": "string"})
    pros = [(await office.a_contact(attributes={"plan": "pro"}))["id"] for _ in range(3)]
    await office.a_contact(attributes={"plan": "free"})
    await office.post(f"/v1/contacts/{pros[0]}/actions/unsubscribe", status=200)
    rule = {"attribute": "plan", "is": "pro"}
    preview = await office.post("/v1/segments/preview", {"rule": rule, "sample": 2}, status=200)
    assert (preview["contacts"], preview["active"]) == (3, 2)
    assert [one["id"] for one in preview["sample"]] == pros[:2]
    stored = await segment(office, rule)
    assert await office.get(f"/v1/segments/{stored}/preview?sample=2") == preview
    found = await office.get(f"/v1/contacts?segment_id={stored}&status=active")
    assert [one["id"] for one in found["items"]] == pros[1:]
    nested = await office.post("/v1/segments/preview", {"rule": {"not": {"segment": stored}}}, status=200)
    assert nested["contacts"] == 1


async def test_what_a_segment_uses_is_not_deleted(office: Office) -> None:
    attribute = await office.post("/v1/contact-attributes", {"key": "plan", "type": "string"})
    list_id = await office.a_list()
    user = await segment(office, {"any": [{"list": list_id}, {"attribute": "plan", "is": "pro"}]})
    assert await delete(office, f"/v1/lists/{list_id}") == (409, "list_in_use")
    assert await delete(office, f"/v1/contact-attributes/{attribute['id']}") == (409, "attribute_in_use")
    await delete(office, f"/v1/segments/{user}")
    assert await delete(office, f"/v1/lists/{list_id}") == (204, None)
    assert await delete(office, f"/v1/contact-attributes/{attribute['id']}") == (204, None)


async def test_a_campaign_goes_to_those_on_its_lists_who_are_in_its_segments_and_not_excluded(
    office: Office, container: Container, service_headers: Any
) -> None:
    readers, staff = await office.a_list(), await office.a_list()
    ada = await office.a_contact(readers, first_name="Ada")
    await office.a_contact(readers, first_name="Bob")
    cy = await office.a_contact(readers, first_name="Cy")
    await office.a_contact(readers, staff, first_name="Ada")
    outside = await office.a_contact(first_name="Ada")
    await office.a_contact(readers, first_name="Ada", last_name="Gone")
    names = await segment(office, {"field": "first_name", "in": ["Ada", "Cy"]})
    gone = await segment(office, {"field": "last_name", "is": "Gone"})
    fields = {"segment_ids": [names], "exclude_list_ids": [staff], "exclude_segment_ids": [gone]}
    campaign = await office.a_started_campaign(container, list_ids=[readers], **fields)
    assert {name: campaign[name] for name in fields} == fields
    assert await audience(office, service_headers, campaign) == [ada["id"], cy["id"]]
    copy = await office.act(campaign, "duplicate", status=201)
    assert {name: copy[name] for name in fields} == fields
    without_lists = await office.post(
        "/v1/campaigns",
        {
            "name": "x",
            "template_id": campaign["template_id"],
            "from_name": "B",
            "from_email": "b@example.com",
            **fields,
        },
    )
    await office.act(without_lists, "send")
    await container.starting_campaigns.start_due_campaigns()
    assert await audience(office, service_headers, without_lists) == [ada["id"], cy["id"], outside["id"]]


async def test_a_started_campaign_keeps_the_rules_that_it_started_with(
    office: Office, container: Container, service_headers: Any
) -> None:
    readers = await office.a_list()
    ada, bob = await office.a_contact(readers, first_name="Ada"), await office.a_contact(readers, first_name="Bob")
    inner = await segment(office, {"field": "first_name", "is": "Ada"})
    outer = await segment(office, {"segment": inner})
    campaign = await office.a_started_campaign(container, list_ids=[readers], segment_ids=[outer])
    assert (await change(office, inner, {"rule": {"field": "first_name", "is": "Bob"}})).status_code == 200
    assert await audience(office, service_headers, campaign) == [ada["id"]]
    later = await office.a_started_campaign(container, list_ids=[readers], segment_ids=[outer])
    assert await audience(office, service_headers, later) == [bob["id"]]


async def test_a_segment_that_a_campaign_may_still_need_is_not_deleted(office: Office, container: Container) -> None:
    used = await segment(office, {"all": []})
    campaign = await office.a_campaign(exclude_segment_ids=[used])
    path = f"/v1/segments/{used}"
    assert await delete(office, path) == (409, "segment_in_use")
    await office.act(campaign, "send")
    await container.starting_campaigns.start_due_campaigns()
    assert await delete(office, path) == (409, "segment_in_use")
    await office.act(campaign, "cancel")
    assert await delete(office, path) == (204, None)


async def test_a_campaign_needs_lists_or_segments_that_exist(office: Office) -> None:
    campaign = await office.a_campaign()
    path = f"/v1/campaigns/{campaign['id']}"
    for body, code in (
        ({"list_ids": []}, "no_audience"),
        ({"segment_ids": [str(uuid4())]}, "unknown_reference"),
        ({"exclude_segment_ids": [str(uuid4())]}, "unknown_reference"),
        ({"exclude_list_ids": [str(uuid4())]}, "unknown_reference"),
        ({"segment_ids": None}, "invalid_request"),
    ):
        answer = await office.client.patch(path, json=body, headers=office.headers)
        assert (answer.status_code, answer.json()["code"]) == (422, code)


def engaged(office: Office, *engagements: tuple[str, str, datetime]) -> EngagementsRecorded:
    campaign_id = new_id()
    found = tuple(
        Engagement(contact_id=UUID(contact_id), kind=EngagementKind(kind), at=at)
        for contact_id, kind, at in engagements
    )
    data = EngagementsRecordedData(campaign_id=campaign_id, engagements=found)
    event: EngagementsRecorded = told(EngagementsRecorded, office, str(campaign_id), data)
    return event


async def test_engagement_is_known_from_events_that_come_twice_in_any_order(
    office: Office, container: Container, sign_in: Any
) -> None:
    now = datetime.now(UTC)
    ada, bob = (await office.a_contact())["id"], (await office.a_contact())["id"]
    stranger = (await Office(office.client, sign_in(), new_id()).a_contact())["id"]
    late = engaged(office, (ada, "open", now - timedelta(days=3)), (ada, "open", now - timedelta(days=9)))
    early = engaged(
        office,
        (ada, "open", now - timedelta(days=60)),
        (bob, "click", now - timedelta(days=60)),
        (stranger, "open", now),
    )
    for event in (late, early, late, engaged(office, (str(uuid4()), "open", now))):
        await container.following_sends.on_engagements_recorded(event)
    record = DeliveryRecord(contact_id=UUID(bob), outcome=DeliveryOutcome.SENT, domain="example.com", at=now)
    bounce = DeliveryRecord(contact_id=UUID(ada), outcome=DeliveryOutcome.BOUNCED, domain="example.com", at=now)
    data = DeliveriesRecordedData(campaign_id=new_id(), records=(record, bounce))
    delivered = told(DeliveriesRecorded, office, str(data.campaign_id), data)
    for _ in range(2):
        await container.following_sends.on_deliveries_recorded(delivered)

    async def found(kind: str, days: int | None) -> list[str]:
        rule = {"engagement": kind, **({} if days is None else {"within_days": days})}
        preview = await office.post("/v1/segments/preview", {"rule": rule}, status=200)
        return [one["id"] for one in preview["sample"]]

    assert await found("opened", 4) == [ada]
    assert await found("opened", 2) == []
    assert await found("clicked", 30) == []
    assert await found("clicked", None) == [bob]
    assert await found("sent", 1) == [bob]
    async with container.engine.connect() as connection:
        query = sa.text("SELECT count(*) FROM engagements WHERE contact_id = :id")
        assert await connection.scalar(query, {"id": UUID(stranger)}) == 0


_STATEMENTS = """
INSERT INTO contacts (id, organisation_id, email, first_name, last_name, attributes, status, created_at, updated_at)
SELECT CAST(md5(:seed || n) AS uuid), :organisation, n || '@example.com', '', '', jsonb_build_object('visits', n),
       'active', now(), now()
FROM generate_series(1, 20000) AS n;
INSERT INTO subscriptions
SELECT :list, id, organisation_id, 'subscribed', now() FROM contacts
WHERE organisation_id = :organisation AND email LIKE '%7@%';
INSERT INTO engagements (contact_id, organisation_id, last_sent_at, last_opened_at)
SELECT id, organisation_id, now(), now() - make_interval(days => CAST(attributes ->> 'visits' AS int)) FROM contacts
WHERE organisation_id = :organisation
"""


async def _fill(container: Container, organisation_id: UUID, list_id: str) -> None:
    values = {"organisation": organisation_id, "list": UUID(list_id), "seed": str(organisation_id)}
    async with container.engine.begin() as connection:
        for statement in _STATEMENTS.split(";"):
            names = {name: value for name, value in values.items() if f":{name}" in statement}
            await connection.execute(sa.text(statement), names)
    async with container.engine.connect() as connection:
        autocommit = await connection.execution_options(isolation_level="AUTOCOMMIT")
        await autocommit.execute(sa.text("ANALYZE contacts, subscriptions, engagements"))


async def test_plans_use_the_indexes_that_there_are(
    office: Office, container: Container, organisation_id: UUID, sign_in: Any
) -> None:
    """Among the contacts of other organisations those of a small one, and of these a few, are found by indexes."""
    others = new_id()
    await _fill(container, others, await Office(office.client, sign_in(others), others).a_list())
    list_id = await office.a_list()
    ada = await office.a_contact(list_id)

    async def plan(rule: Any, whose: UUID) -> dict[str, Any]:
        wanted = condition(read_rule(rule, {}).rule, datetime.now(UTC))
        async with container.engine.connect() as connection:
            return await plan_of(connection, count_query(whose, wanted))

    for rule in (
        {"field": "domain", "is": "example.com"},
        {"list": list_id},
        {"any": [{"list": list_id}, {"engagement": "opened", "within_days": 5}]},
        {"not": {"list": list_id}},
    ):
        assert sequential_scans(await plan(rule, organisation_id)) == [], rule
    lately = await plan({"engagement": "opened", "within_days": 5}, others)
    indexes = {node.get("Index Name") for node in nodes_of(lately)}
    assert "ix_engagements_organisation_id_last_opened_at" in indexes, lately
    by_address = await plan({"field": "email", "starts_with": "1234"}, others)
    assert "uq_contacts_organisation_id_email" in {node.get("Index Name") for node in nodes_of(by_address)}, by_address
    rule = read_rule({"engagement": "opened", "within_days": 5}, {}).rule
    async with container.engine.connect() as connection:
        wanted = Audience(organisation_id, NOW, (UUID(list_id),), (rule,), (rule,))
        found = await plan_of(connection, audience_query(wanted, UUID(ada["id"]), 100))
    assert sequential_scans(found) == []
