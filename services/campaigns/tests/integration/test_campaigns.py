"""Campaigns through the API: writing, actions, rights."""

from __future__ import annotations

import asyncio
import dataclasses
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import httpx
import pytest
import sqlalchemy as sa

from posthorn_campaigns.adapters.db.campaigns import SqlCampaigns
from posthorn_campaigns.bootstrap import Container, bootstrap
from posthorn_campaigns.domain.errors import StaleCampaign
from posthorn_campaigns.entrypoints.http.app import build_app
from posthorn_campaigns.settings import Settings
from posthorn_contracts.permissions import Role

from .campaign_support import Office, drained, event_types_about, events_about

pytestmark = pytest.mark.integration
ACTIONS = ("schedule", "send", "unschedule", "pause", "resume", "cancel", "duplicate", "retry-failed", "test-send")


@pytest.fixture
def office(client: httpx.AsyncClient, headers: Any, organisation_id: Any) -> Office:
    return Office(client, headers, organisation_id)


def _body(verb: str) -> Any:
    if verb == "schedule":
        return {"scheduled_at": (datetime.now(UTC) + timedelta(hours=1)).isoformat()}
    return {"to": ["ada@example.com"]} if verb == "test-send" else None


async def test_a_campaign_is_written_and_read_back(office: Office) -> None:
    campaign = await office.a_campaign(reply_to="Answers@Example.com", track_clicks=False)
    assert (campaign["status"], campaign["version"], campaign["reply_to"]) == ("draft", 1, "answers@example.com")
    assert (campaign["track_opens"], campaign["track_clicks"], campaign["relay_id"]) == (True, False, None)
    assert set(campaign["counts"].values()) == {0}
    assert await office.campaign(campaign) == campaign


async def test_what_becomes_of_deliveries_in_doubt_is_chosen_changed_copied_and_left_to_the_mailer(
    office: Office,
) -> None:
    assert (await office.a_campaign())["on_ambiguous"] is None
    campaign = await office.a_campaign(on_ambiguous="resend")
    copy = await office.act(campaign, "duplicate", status=201)
    assert (await office.campaign(copy))["on_ambiguous"] == "resend"
    for wanted in ("hold", None):
        changed = await office.client.patch(
            f"/v1/campaigns/{campaign['id']}", json={"on_ambiguous": wanted}, headers=office.headers
        )
        assert changed.status_code == 200
        assert (await office.campaign(campaign))["on_ambiguous"] == wanted


@pytest.mark.parametrize(
    "changes",
    [
        {"from_name": "Books\r\nBcc: all@example.com"},
        {"from_name": "Books\u2028x"},
        {"name": "Autumn\nX-Spam: no"},
        {"from_email": "post@example.com\r\nRCPT TO:<x@example.com>"},
        {"from_email": "a@example.com, b@example.com"},
        {"reply_to": "nobody"},
        {"status": "sending"},
        {"on_ambiguous": "forget"},
        {"from_name": ""},
        {"messages_per_second": 0},
        {"messages_per_second": -1},
        {"messages_per_second": 1e9},
        {"messages_per_second": "fast"},
    ],
)
async def test_fields_that_would_break_a_message_are_refused(office: Office, changes: Any) -> None:
    campaign = await office.a_campaign()
    fields = ("name", "template_id", "list_ids", "from_name", "from_email")
    body = {**{name: campaign[name] for name in fields}, **changes}
    created = await office.client.post("/v1/campaigns", json=body, headers=office.headers)
    path = f"/v1/campaigns/{campaign['id']}"
    changed = await office.client.patch(path, json=changes, headers=office.headers)
    for answer in (created, changed):
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")


@pytest.mark.parametrize("field", ["template_id", "list_ids"])
async def test_what_does_not_exist_in_the_organisation_cannot_be_used(office: Office, sign_in: Any, field: str) -> None:
    campaign = await office.a_campaign()
    theirs = await Office(office.client, sign_in(), uuid4()).a_campaign()
    for value in (theirs[field], str(uuid4()) if field == "template_id" else [str(uuid4())]):
        fields = ("name", "template_id", "list_ids", "from_name", "from_email")
        body = {**{name: campaign[name] for name in fields}, field: value}
        for answer in (
            await office.client.post("/v1/campaigns", json=body, headers=office.headers),
            await office.client.patch(f"/v1/campaigns/{campaign['id']}", json={field: value}, headers=office.headers),
        ):
            assert (answer.status_code, answer.json()["code"]) == (422, "unknown_reference")
            assert answer.json()["field"] == field


async def test_a_draft_or_scheduled_campaign_is_changed_and_a_started_one_is_not(
    office: Office, container: Container
) -> None:
    campaign = await office.a_campaign(reply_to="answers@example.com", messages_per_second=20)
    assert campaign["messages_per_second"] == 20
    path = f"/v1/campaigns/{campaign['id']}"
    change = {"name": "Winter", "reply_to": None, "messages_per_second": None, "track_opens": False}
    changed = (await office.client.patch(path, json=change, headers=office.headers)).json()
    assert (changed["name"], changed["reply_to"], changed["track_opens"]) == ("Winter", None, False)
    assert (changed["version"], changed["from_name"], changed["messages_per_second"]) == (2, "Books", None)
    await office.act(campaign, "schedule", _body("schedule"))
    still = (await office.client.patch(path, json={"name": "Spring"}, headers=office.headers)).json()
    assert (still["name"], still["status"]) == ("Spring", "scheduled")
    await office.act(campaign, "send")
    await container.starting_campaigns.start_due_campaigns()
    refused = await office.client.patch(path, json={"name": "Summer"}, headers=office.headers)
    assert (refused.status_code, refused.json()["code"]) == (409, "campaign_not_editable")
    nulled = await office.client.patch(path, json={"name": None}, headers=office.headers)
    assert nulled.status_code == 422


async def test_a_change_that_starts_from_an_older_version_is_refused(office: Office) -> None:
    campaign = await office.a_campaign()
    path = f"/v1/campaigns/{campaign['id']}"
    body = {"name": "Winter", "version": campaign["version"]}
    answers = await asyncio.gather(*(office.client.patch(path, json=body, headers=office.headers) for _ in range(4)))
    assert sorted(answer.status_code for answer in answers) == [200, 409, 409, 409]
    assert {answer.json()["code"] for answer in answers if answer.status_code == 409} == {"campaign_changed"}


async def test_campaigns_are_listed_newest_first_by_status_and_name(office: Office) -> None:
    names = ("Autumn 10% off", "Winter", "autumn again", "Autumn 10 off")
    ids = {name: (await office.a_campaign(name=name))["id"] for name in names}
    await office.act({"id": ids["Winter"]}, "schedule", _body("schedule"))

    async def listed(query: str) -> list[str]:
        return [item["name"] for item in (await office.get(f"/v1/campaigns?{query}"))["items"]]

    assert await listed("") == list(names)[::-1]
    assert await listed("status=scheduled") == ["Winter"]
    assert await listed("search=autumn") == ["Autumn 10 off", "autumn again", "Autumn 10% off"]
    assert await listed("search=10%25") == ["Autumn 10% off"], "a per cent sign is just that"
    first = await office.get("/v1/campaigns?limit=3")
    rest = await office.get(f"/v1/campaigns?limit=3&cursor={first['next_cursor']}")
    assert [item["name"] for item in first["items"] + rest["items"]] == list(names)[::-1]
    assert (await office.client.get("/v1/campaigns?status=odd", headers=office.headers)).status_code == 422


async def test_scheduling_tells_once_the_campaign_is_stored(office: Office, container: Container) -> None:
    campaign = await office.a_campaign()
    at = datetime.now(UTC) + timedelta(hours=2)
    scheduled = await office.act(campaign, "schedule", {"scheduled_at": at.isoformat()})
    assert (scheduled["status"], datetime.fromisoformat(scheduled["scheduled_at"])) == ("scheduled", at)
    sooner = datetime.now(UTC) + timedelta(hours=1)
    again = await office.act(campaign, "schedule", {"scheduled_at": sooner.isoformat()})
    assert datetime.fromisoformat(again["scheduled_at"]) == sooner
    back = await office.act(campaign, "unschedule")
    assert (back["status"], back["scheduled_at"]) == ("draft", None)
    assert await event_types_about(container, campaign) == [
        "campaign.scheduled",
        "campaign.scheduled",
        "campaign.unscheduled",
    ]


@pytest.mark.parametrize(
    ("at", "code"),
    [
        ((datetime.now(UTC) - timedelta(hours=1)).isoformat(), "scheduled_in_the_past"),
        ("9999-12-31T23:59:59Z", "scheduled_too_late"),
        ("2027-01-01T00:00:00", "invalid_request"),
        ("tomorrow", "invalid_request"),
    ],
)
async def test_a_time_that_cannot_be_is_refused(office: Office, container: Container, at: str, code: str) -> None:
    campaign = await office.a_campaign()
    answer = await office.client.post(
        f"/v1/campaigns/{campaign['id']}/actions/schedule", json={"scheduled_at": at}, headers=office.headers
    )
    assert (answer.status_code, answer.json()["code"]) == (422, code)
    assert (await office.campaign(campaign))["status"] == "draft"
    assert await event_types_about(container, campaign) == []


async def test_pause_resume_and_cancel_tell_the_mailer(office: Office, container: Container) -> None:
    campaign = await office.a_started_campaign(container)
    paused = await office.act(campaign, "pause")
    assert (paused["status"], paused["paused_at"] is not None) == ("paused", True)
    resumed = await office.act(campaign, "resume")
    assert (resumed["status"], resumed["paused_at"]) == ("sending", None)
    cancelled = await office.act(campaign, "cancel")
    assert (cancelled["status"], cancelled["completed_at"] is not None) == ("cancelled", True)
    kinds = await event_types_about(container, campaign)
    assert kinds == [f"campaign.{verb}" for verb in ("scheduled", "started", "paused", "resumed", "cancelled")]


@pytest.mark.parametrize("verb", ["pause", "resume", "cancel", "unschedule", "retry-failed"])
async def test_what_a_draft_cannot_do_is_refused_with_both_states(
    office: Office, container: Container, verb: str
) -> None:
    campaign = await office.a_campaign()
    problem = await office.act(campaign, verb, status=409)
    assert (problem["code"], problem["current"]) == ("invalid_transition", "draft")
    assert problem["requested"] in {"paused", "sending", "cancelled", "draft"}
    assert await office.campaign(campaign) == campaign
    assert await event_types_about(container, campaign) == []


async def test_of_many_who_pause_at_once_one_does(office: Office, container: Container) -> None:
    campaign = await office.a_started_campaign(container)
    path = f"/v1/campaigns/{campaign['id']}/actions/pause"
    answers = await asyncio.gather(*(office.client.post(path, headers=office.headers) for _ in range(5)))
    assert sorted(answer.status_code for answer in answers) == [200, 409, 409, 409, 409]
    assert (await event_types_about(container, campaign)).count("campaign.paused") == 1


async def test_a_stale_update_is_refused_by_the_database(office: Office, container: Container) -> None:
    campaign = await office.a_campaign()
    stored = await container.managing_campaigns.get(office.organisation_id, campaign["id"])
    await office.act(campaign, "send")
    answer = await office.client.get(f"/v1/campaigns/{campaign['id']}", headers=office.headers)
    assert answer.json()["version"] == stored.version + 1
    async with container.engine.begin() as connection:
        with pytest.raises(StaleCampaign):
            await SqlCampaigns(connection).save(dataclasses.replace(stored, name="Stale"), datetime.now(UTC))
        with pytest.raises(StaleCampaign):
            await SqlCampaigns(connection).delete(stored)
    assert (await office.campaign(campaign))["name"] == "Autumn"


async def test_failed_deliveries_are_tried_again_only_after_completion_with_errors(
    office: Office, container: Container
) -> None:
    campaign = await office.a_started_campaign(container)
    assert (await office.act(campaign, "retry-failed", status=409))["current"] == "sending"
    await container.following_sends.on_send_drained(drained(office, campaign, sent=1, failed=2))
    again = await office.act(campaign, "retry-failed")
    assert (again["status"], again["completed_at"]) == ("sending", None)
    assert (await events_about(container, campaign))[-1] == (
        "campaign.retry-requested",
        {"campaign_id": campaign["id"]},
    )


async def test_failed_deliveries_are_not_tried_again_long_after_completion(
    office: Office, container: Container
) -> None:
    campaign = await office.a_started_campaign(container)
    await container.following_sends.on_send_drained(drained(office, campaign, sent=1, failed=2))
    async with container.engine.begin() as connection:
        await connection.execute(sa.text("UPDATE campaigns SET completed_at = now() - interval '31 days'"))
    assert (await office.act(campaign, "retry-failed", status=409))["code"] == "retry_too_late"
    assert (await office.campaign(campaign))["status"] == "completed_with_errors"


async def test_a_copy_is_a_new_draft(office: Office, container: Container) -> None:
    campaign = await office.a_started_campaign(container, name="Autumn")
    copy = await office.act(campaign, "duplicate", status=201)
    assert (copy["name"], copy["status"], copy["template_version_id"]) == ("Autumn (copy)", "draft", None)
    assert copy["id"] != campaign["id"]
    assert copy["list_ids"] == campaign["list_ids"]


async def test_a_running_campaign_is_not_deleted(office: Office, container: Container) -> None:
    campaign = await office.a_started_campaign(container)
    path = f"/v1/campaigns/{campaign['id']}"
    for verb in (None, "pause"):
        if verb:
            await office.act(campaign, verb)
        refused = await office.client.delete(path, headers=office.headers)
        assert (refused.status_code, refused.json()["code"]) == (409, "campaign_running")
    await office.act(campaign, "cancel")
    assert (await office.client.delete(path, headers=office.headers)).status_code == 204
    assert (await office.client.get(path, headers=office.headers)).status_code == 404


async def test_campaigns_of_another_organisation_do_not_exist(office: Office, sign_in: Any) -> None:
    campaign = await office.a_campaign()
    stranger = sign_in()
    path = f"/v1/campaigns/{campaign['id']}"
    answers = [
        await office.client.get(path, headers=stranger),
        await office.client.patch(path, json={"name": "x"}, headers=stranger),
        await office.client.delete(path, headers=stranger),
    ]
    answers += [
        await office.client.post(f"{path}/actions/{verb}", json=_body(verb), headers=stranger) for verb in ACTIONS
    ]
    assert {(answer.status_code, answer.json()["code"]) for answer in answers} == {(404, "campaign_not_found")}
    assert (await office.client.get("/v1/campaigns", headers=stranger)).json()["items"] == []
    assert await office.campaign(campaign) == campaign


async def test_a_viewer_looks_and_does_not_touch(office: Office, sign_in: Any) -> None:
    campaign = await office.a_campaign()
    viewer = sign_in(office.organisation_id, Role.VIEWER)
    path = f"/v1/campaigns/{campaign['id']}"
    assert (await office.client.get(path, headers=viewer)).status_code == 200
    assert len((await office.client.get("/v1/campaigns", headers=viewer)).json()["items"]) == 1
    answers = [
        await office.client.patch(path, json={"name": "x"}, headers=viewer),
        await office.client.delete(path, headers=viewer),
    ]
    answers += [
        await office.client.post(f"{path}/actions/{verb}", json=_body(verb), headers=viewer) for verb in ACTIONS
    ]
    assert {answer.status_code for answer in answers} == {403}
    assert {answer.json()["permission"] for answer in answers} == {"campaigns:write", "campaigns:send"}
    assert (await office.client.get(path)).status_code == 401


async def test_scheduling_works_while_rabbitmq_is_away_and_the_event_waits(
    settings: Settings, container: Container, headers: Any, organisation_id: Any, eventually: Any
) -> None:
    nowhere = settings.model_copy(update={"amqp_url": type(settings.amqp_url)("amqp://guest:guest@127.0.0.1:1/")})
    async with bootstrap(nowhere) as opened:
        cut_off = dataclasses.replace(opened, identity=container.identity)
        transport = httpx.ASGITransport(build_app(cut_off))
        async with httpx.AsyncClient(transport=transport, base_url="http://campaigns") as client:
            office = Office(client, headers, organisation_id)
            assert (await client.get("/health/ready")).json()["checks"]["rabbitmq"] != "ok"
            campaign = await office.a_campaign()
            scheduled = await office.act(campaign, "schedule", _body("schedule"))
            assert scheduled["status"] == "scheduled"
            async with container.engine.begin() as connection:  # what other tests have left would be tried first
                await connection.execute(
                    sa.text("DELETE FROM outbox WHERE body::jsonb ->> 'subject' <> :subject"),
                    {"subject": campaign["id"]},
                )
            stop = asyncio.Event()
            relaying = asyncio.create_task(cut_off.relay.run(stop))
            await eventually(lambda: _attempts(container, campaign))
            stop.set()
            await relaying
    assert await event_types_about(container, campaign) == ["campaign.scheduled"], "it is not lost"


async def _attempts(container: Container, campaign: Any) -> int:
    query = sa.text("SELECT sum(attempts) FROM outbox WHERE body::jsonb ->> 'subject' = :subject")
    async with container.engine.connect() as connection:
        return int(await connection.scalar(query, {"subject": campaign["id"]}) or 0)
