"""Due campaigns start, once, and what they send is fixed; other services read it."""

from __future__ import annotations

import asyncio
import json
import re
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
import sqlalchemy as sa

from posthorn_campaigns.adapters.templates import ConfinedTemplateEngine
from posthorn_campaigns.bootstrap import Container, bootstrap
from posthorn_campaigns.entrypoints.roles import schedule
from posthorn_campaigns.settings import Settings
from posthorn_common.http.app import ONE_MEBIBYTE
from posthorn_common.testing import FakeClock
from posthorn_contracts.campaigns.internal_v1 import AudiencePage, CampaignContent, CampaignLinks

from .campaign_support import Office, event_types_about, events_about

pytestmark = pytest.mark.integration


@pytest.fixture
def office(client: httpx.AsyncClient, headers: Any, organisation_id: Any) -> Office:
    return Office(client, headers, organisation_id)


async def _due(container: Container, campaign: Any, at: datetime) -> None:
    """Schedule in the past, as when schedulers were away."""
    change = sa.text("UPDATE campaigns SET scheduled_at = :at WHERE id = :id")
    async with container.engine.begin() as connection:
        await connection.execute(change, {"at": at, "id": UUID(campaign["id"])})


async def test_a_due_campaign_starts_with_its_content_fixed(office: Office, container: Container) -> None:
    template = await office.a_template()
    campaign = await office.a_started_campaign(container, template_id=template["id"])
    assert campaign["template_version_id"] == template["version_id"]
    assert campaign["started_at"] is not None
    kinds = await events_about(container, campaign)
    assert [kind for kind, _ in kinds] == ["campaign.scheduled", "campaign.started"]
    assert kinds[1][1] == {
        "campaign_id": campaign["id"],
        "name": "Autumn",
        "template_version_id": template["version_id"],
        "relay_id": None,
        "messages_per_second": None,
        "track_opens": True,
        "track_clicks": True,
        "links": [{"number": 0, "url": "https://example.com/read"}],
        "on_ambiguous": None,
    }


async def test_what_a_campaign_wants_for_deliveries_in_doubt_is_told_when_it_starts(
    office: Office, container: Container
) -> None:
    campaign = await office.a_started_campaign(container, on_ambiguous="resend")
    assert campaign["on_ambiguous"] == "resend"
    kinds = dict(await events_about(container, campaign))
    assert kinds["campaign.started"]["on_ambiguous"] == "resend"


async def test_a_campaign_takes_its_own_limit_along(office: Office, container: Container) -> None:
    campaign = await office.a_started_campaign(container, messages_per_second=2.5)
    assert campaign["messages_per_second"] == 2.5
    (started,) = [data for kind, data in await events_about(container, campaign) if kind == "campaign.started"]
    assert started["messages_per_second"] == 2.5
    copy = await office.post(f"/v1/campaigns/{campaign['id']}/actions/duplicate")
    assert copy["messages_per_second"] == 2.5


async def test_a_campaign_does_not_start_before_its_time(office: Office, container: Container) -> None:
    campaign = await office.a_campaign()
    later = datetime.now(UTC) + timedelta(hours=1)
    await office.act(campaign, "schedule", {"scheduled_at": later.isoformat()})
    await container.starting_campaigns.start_due_campaigns()
    assert (await office.campaign(campaign))["status"] == "scheduled"


async def test_of_two_schedulers_one_starts_the_campaign(
    office: Office, container: Container, settings: Settings
) -> None:
    campaigns = [await office.a_campaign() for _ in range(4)]
    for campaign in campaigns:
        await office.act(campaign, "send")
    async with bootstrap(settings) as other:
        await asyncio.gather(
            *(one.starting_campaigns.start_due_campaigns() for one in (container, other, container, other))
        )
    for campaign in campaigns:
        assert (await office.campaign(campaign))["status"] == "sending"
        assert await event_types_about(container, campaign) == ["campaign.scheduled", "campaign.started"]


async def test_the_scheduler_role_starts_campaigns_by_itself(
    office: Office, container: Container, eventually: Any
) -> None:
    stop = asyncio.Event()
    role = asyncio.create_task(schedule(container, stop))
    try:
        campaign = await office.a_campaign()
        soon = datetime.now(UTC) + timedelta(seconds=1)
        await office.act(campaign, "schedule", {"scheduled_at": soon.isoformat()})
        started = await eventually(lambda: office.campaign(campaign), lambda now: now["status"] == "sending")
    finally:
        stop.set()
        await role
    assert datetime.fromisoformat(started["started_at"]) >= soon


async def test_a_template_that_fails_for_its_audience_fails_the_campaign(office: Office, container: Container) -> None:
    list_id = await office.a_list()
    for _ in range(3):
        await office.a_contact(list_id, attributes={"age": "unknown"})
    template = await office.a_template(html="<p>\n{{ contact.attributes.age / 2 }}</p>")
    campaign = await office.a_campaign(template_id=template["id"], list_ids=[list_id])
    await office.act(campaign, "send")
    await container.starting_campaigns.start_due_campaigns()
    failed = await office.campaign(campaign)
    assert (failed["status"], failed["completed_at"] is not None) == ("failed", True)
    assert "html, line 2" in failed["failure_reason"]
    assert (await events_about(container, campaign))[-1] == (
        "campaign.completed",
        {"campaign_id": campaign["id"], "status": "failed"},
    )


async def test_one_contact_for_whom_the_template_fails_does_not_fail_the_campaign(
    office: Office, container: Container
) -> None:
    list_id = await office.a_list()
    await office.a_contact(list_id, attributes={"age": "unknown"})
    await office.a_contact(list_id, attributes={"age": 36})
    template = await office.a_template(html="<p>{{ contact.attributes.age / 2 }}</p>")
    await office.a_started_campaign(container, template_id=template["id"], list_ids=[list_id])


async def test_a_campaign_that_is_long_overdue_fails_instead_of_being_sent(
    office: Office, container: Container
) -> None:
    late, very_late = await office.a_campaign(), await office.a_campaign()
    for campaign in (late, very_late):
        await office.act(campaign, "send")
    await _due(container, late, datetime.now(UTC) - timedelta(hours=23))
    await _due(container, very_late, datetime.now(UTC) - timedelta(hours=25))
    await container.starting_campaigns.start_due_campaigns()
    assert (await office.campaign(late))["status"] == "sending"
    failed = await office.campaign(very_late)
    assert failed["status"] == "failed"
    assert "due at" in failed["failure_reason"]


async def test_a_campaign_without_lists_fails_and_one_with_some_left_starts(
    office: Office, container: Container
) -> None:
    gone, stays = await office.a_list(), await office.a_list()
    lost, kept = await office.a_campaign(list_ids=[gone]), await office.a_campaign(list_ids=[gone, stays])
    for campaign in (lost, kept):
        await office.act(campaign, "send")
    async with container.engine.begin() as connection:
        await connection.execute(sa.text("DELETE FROM lists WHERE id = :id"), {"id": UUID(gone)})
    await container.starting_campaigns.start_due_campaigns()
    assert (await office.campaign(lost))["failure_reason"] == "None of its lists exist any more."
    assert (await office.campaign(kept))["status"] == "sending"


async def test_a_campaign_that_trips_us_holds_no_other_up(
    office: Office, container: Container, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, others = await office.a_campaign(track_opens=False), await office.a_campaign()
    for campaign in (ours, others):
        await office.act(campaign, "send")
    prepare = ConfinedTemplateEngine.prepare

    def broken(self: Any, source: Any, *, track_opens: bool, track_clicks: bool) -> Any:
        if not track_opens:
            raise ZeroDivisionError
        return prepare(self, source, track_opens=track_opens, track_clicks=track_clicks)

    monkeypatch.setattr(ConfinedTemplateEngine, "prepare", broken)
    await container.starting_campaigns.start_due_campaigns()
    assert (await office.campaign(others))["status"] == "sending"
    assert (await office.campaign(ours))["status"] == "scheduled"
    monkeypatch.undo()
    await container.starting_campaigns.start_due_campaigns()
    assert (await office.campaign(ours))["status"] == "sending"


# --- what other services read


async def test_the_mailer_reads_the_content(
    office: Office, container: Container, service_headers: Any, client: httpx.AsyncClient
) -> None:
    list_id = await office.a_list()
    campaign = await office.a_started_campaign(container, list_ids=[list_id], reply_to="answers@example.com")
    answer = await client.get(f"/internal/campaigns/{campaign['id']}/content", headers=service_headers)
    content = CampaignContent.model_validate_json(answer.content)
    assert content.organisation_id == office.organisation_id
    assert content.template_version_id == UUID(campaign["template_version_id"])
    assert (content.from_name, content.from_email, content.reply_to) == (
        "Books",
        "post@example.com",
        "answers@example.com",
    )
    assert content.list_id == f"{UUID(list_id).hex}.posthorn.test"
    assert [(link.number, link.url) for link in content.links] == [(0, "https://example.com/read")]
    assert re.search(r'href="\{\{ posthorn_link\(0\)', content.html)
    for variable in ("posthorn_unsubscribe_url", "posthorn_open_pixel"):
        assert variable in content.html
    assert "posthorn_link(0)" in content.text
    links = await client.get(f"/internal/campaigns/{campaign['id']}/links", headers=service_headers)
    assert CampaignLinks.model_validate_json(links.content).links == content.links


async def test_later_changes_of_the_template_do_not_reach_a_started_campaign(
    office: Office, container: Container, service_headers: Any, client: httpx.AsyncClient
) -> None:
    template = await office.a_template()
    campaign = await office.a_started_campaign(container, template_id=template["id"])
    path = f"/internal/campaigns/{campaign['id']}/content"
    before = (await client.get(path, headers=service_headers)).json()
    await client.patch(f"/v1/templates/{template['id']}", json={"html": "<p>New</p>"}, headers=office.headers)
    await client.delete(f"/v1/templates/{template['id']}", headers=office.headers)
    assert (await client.get(path, headers=service_headers)).json() == before


async def test_the_audience_comes_in_pages_each_contact_once_with_the_fields_that_are_used(
    office: Office, container: Container, service_headers: Any, client: httpx.AsyncClient
) -> None:
    first, second, other = await office.a_list(), await office.a_list(), await office.a_list()
    both = await office.a_contact(first, second, attributes={"city": "Rome", "secret": "x"})
    one = await office.a_contact(first, last_name="Unused")
    two = await office.a_contact(second)
    await office.a_contact(other)
    gone = await office.a_contact(first)
    async with container.engine.begin() as connection:
        await connection.execute(
            sa.text("UPDATE contacts SET status = 'unsubscribed' WHERE id = :id"), {"id": UUID(gone["id"])}
        )
    campaign = await office.a_started_campaign(container, list_ids=[first, second])
    members: list[Any] = []
    cursor = None
    while True:
        params = {"limit": "2", **({"cursor": cursor} if cursor else {})}
        answer = await client.get(
            f"/internal/campaigns/{campaign['id']}/audience", params=params, headers=service_headers
        )
        page = AudiencePage.model_validate_json(answer.content)
        members += page.members
        cursor = page.next_cursor
        if cursor is None:
            break
    assert [member.contact_id for member in members] == sorted(UUID(item["id"]) for item in (both, one, two))
    by_id = {member.contact_id: member for member in members}
    assert by_id[UUID(both["id"])].fields == {"first_name": "Ada", "attributes": {"city": "Rome"}}
    assert by_id[UUID(one["id"])].fields == {"first_name": "Ada"}
    assert by_id[UUID(one["id"])].email == one["email"]


async def test_internal_routes_are_for_services_and_for_campaigns_that_have_started(
    office: Office, container: Container, service_headers: Any, client: httpx.AsyncClient
) -> None:
    started, draft = await office.a_started_campaign(container), await office.a_campaign()
    for what in ("content", "links", "audience"):
        path = f"/internal/campaigns/{started['id']}/{what}"
        assert (await client.get(path, headers=service_headers)).status_code == 200
        for headers in ({}, office.headers):
            assert (await client.get(path, headers=headers)).status_code == 401
        for unknown in (draft["id"], uuid4()):
            answer = await client.get(f"/internal/campaigns/{unknown}/{what}", headers=service_headers)
            assert answer.status_code == 404
    path = f"/internal/campaigns/{started['id']}/audience"
    for params in ({"limit": "5001"}, {"limit": "0"}, {"cursor": "x"}):
        assert (await client.get(path, params=params, headers=service_headers)).status_code == 422


async def test_the_largest_template_can_be_sent(office: Office, container: Container) -> None:
    row = '<tr><td class="a"><a href="https://example.com/{}">{{{{ contact.first_name }}}}</a></td></tr>'
    rows = "".join(row.format(number) for number in range(5000))
    html = f"<style>.a {{ color: red }}</style><table>{rows}</table>"
    assert len(html) < ONE_MEBIBYTE / 2
    template = await office.a_template(html=html)
    campaign = await office.a_started_campaign(container, template_id=template["id"])
    events = await events_about(container, campaign)
    assert len(events[-1][1]["links"]) == 1000, "links beyond the thousandth are not tracked"


@pytest.mark.parametrize("hours", [-1, 1])
async def test_campaigns_start_at_the_database_s_time_whatever_the_clocks_of_our_machines_say(
    office: Office, container: Container, settings: Settings, hours: int
) -> None:
    wrong = FakeClock(datetime.now(UTC) + timedelta(hours=hours))
    now, soon, later = [await office.a_campaign() for _ in range(3)]
    await office.act(now, "send")
    async with bootstrap(settings, clock=wrong) as other:
        in_half_an_hour = datetime.now(UTC) + timedelta(minutes=30)
        await other.running_campaigns.schedule(office.organisation_id, UUID(soon["id"]), in_half_an_hour)
        await other.starting_campaigns.start_due_campaigns()
        assert (await office.campaign(now))["status"] == "sending", "neither late nor overdue"
        assert (await office.campaign(soon))["status"] == "scheduled"
        await other.running_campaigns.pause(office.organisation_id, UUID(now["id"]))
        await other.running_campaigns.schedule(office.organisation_id, UUID(later["id"]), None)
    await container.starting_campaigns.start_due_campaigns()
    assert (await office.campaign(later))["status"] == "sending"
    await office.act(now, "resume")
    times = await _times_of_events(container, now)
    assert len(times) == 4
    assert times == sorted(times), "the mailer obeys the order that was given last"


async def _times_of_events(container: Container, campaign: Any) -> list[str]:
    """Return when the events about a campaign occurred, in the order in which they came about."""
    query = sa.text(
        "SELECT body FROM outbox WHERE event_type LIKE 'campaigns.%' AND body LIKE :about ORDER BY created_at"
    )
    async with container.engine.connect() as connection:
        bodies = await connection.scalars(query, {"about": f"%{campaign['id']}%"})
        return [json.loads(body)["occurred_at"] for body in bodies]
