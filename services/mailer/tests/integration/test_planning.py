"""The audience becomes deliveries once, whoever plans and whatever breaks."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from posthorn_common.clock import new_id
from posthorn_common.errors import TransientError
from posthorn_common.testing import FakeClock
from posthorn_contracts.campaigns.internal_v1 import AudienceMember
from posthorn_contracts.mailer.v1 import SendDrained, SendFailed, SendPlanned
from posthorn_mailer.adapters.db.tables import batches, deliveries, sends
from posthorn_mailer.app import planning
from posthorn_mailer.bootstrap import bootstrap

from .support import CampaignsService, Office, eventually, members

pytestmark = pytest.mark.integration
PORT = 1  # nothing is sent here


async def test_planning_that_broke_resumes_after_its_last_page(office: Office, campaigns: CampaignsService) -> None:
    audience = members(90)
    await office.add_relay(PORT)
    campaign_id = office.add_campaign(audience)
    await office.start(campaign_id)
    campaigns.broken_after_pages = 2
    with pytest.raises(TransientError):
        await office.container.planning.plan_send(campaign_id)
    assert len(await office.rows(deliveries, campaign_id)) == 50
    assert await office.phase(campaign_id) == "planning"
    assert await office.events(SendPlanned) == []

    campaigns.broken_after_pages = None
    await office.container.planning.plan_next()
    rows = await office.rows(deliveries, campaign_id)
    assert [row.contact_id for row in rows] == [member.contact_id for member in audience]
    assert [row.number for row in rows] == list(range(1, 91))
    (planned,) = await office.events(SendPlanned)
    assert planned.data.audience == 90
    spans = [(row.first_number, row.last_number) for row in await office.rows(batches, campaign_id)]
    assert sorted(number for first, last in spans for number in range(first, last + 1)) == list(range(1, 91))
    assert campaigns.calls.count("content") == 1


@pytest.mark.parametrize("hours", [-1, 1])
async def test_a_planner_whose_clock_is_wrong_leaves_the_send_to_others(office: Office, hours: int) -> None:
    await office.add_relay(PORT)
    campaign_id = office.add_campaign(members(3))
    await office.start(campaign_id)
    wrong = FakeClock(datetime.now(UTC) + timedelta(hours=hours))
    async with bootstrap(office.container.settings, clock=wrong) as other:
        with pytest.raises(TransientError, match="does not accept our token"):
            await other.planning.plan_next()
    assert await office.events(SendFailed) == []
    await office.container.planning.plan_next()
    assert len(await office.rows(deliveries, campaign_id)) == 3


async def test_large_recipients_are_pulled_a_few_at_a_time(
    office: Office, campaigns: CampaignsService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(planning, "_FIRST_PAGE", 5)
    monkeypatch.setattr(planning, "_PAGE_CHARACTERS", 10_000)
    audience = [
        AudienceMember(contact_id=new_id(), email=f"r{n}@example.com", fields={"text": "x" * 990}) for n in range(41)
    ]
    campaign_id = await office.plan(audience, port=PORT)
    assert campaigns.calls.count("audience") == 1 + 4, "five, then nine at a time"
    rows = await office.rows(deliveries, campaign_id)
    assert [row.contact_id for row in rows] == [member.contact_id for member in audience]


async def test_planning_that_was_killed_is_taken_over_when_its_lease_is_over(
    office: Office, campaigns: CampaignsService
) -> None:
    await office.add_relay(PORT)
    campaign_id = office.add_campaign(members(40))
    await office.start(campaign_id)
    await office.execute("UPDATE sends SET plan_epoch = 1, plan_until = now() + interval '1 minute'")
    await office.container.planning.plan_send(campaign_id)
    assert await office.rows(deliveries, campaign_id) == []
    await office.execute("UPDATE sends SET plan_until = now()")
    await office.container.planning.plan_send(campaign_id)
    assert len(await office.rows(deliveries, campaign_id)) == 40


async def test_a_planner_that_waits_for_the_audience_keeps_its_lease(
    office: Office, campaigns: CampaignsService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(planning, "_RENEW_SECONDS", 0.02)
    await office.add_relay(PORT)
    campaign_id = office.add_campaign(members(3))
    await office.start(campaign_id)
    campaigns.answering.clear()
    planner = asyncio.create_task(office.container.planning.plan_send(campaign_id))
    seen: set[Any] = set()

    async def renewed_twice() -> bool:
        (row,) = await office.rows(sends, campaign_id)
        seen.add(row.plan_until)
        return len(seen - {None}) >= 3

    await eventually(renewed_twice)
    campaigns.answering.set()
    await planner
    (row,) = await office.rows(sends, campaign_id)
    assert (row.plan_until, row.audience) == (None, 3)


async def test_every_merge_field_is_stored_as_it_came(office: Office) -> None:
    fields = {
        "first_name": 'tab\t, line\r\n, back\\slash \\. \\N and "quotes"',
        "last_name": "Ⅸ \U0001f4ee",
        "none": None,
    }
    audience = [AudienceMember(contact_id=new_id(), email="o'neill+a\\b@bücher.example", fields=fields)]
    campaign_id = await office.plan(audience, port=PORT)
    (row,) = await office.rows(deliveries, campaign_id)
    assert json.loads(row.fields) == fields
    assert (row.email, row.domain) == ("o'neill+a\\b@bücher.example", "bücher.example")


_MEMBER = b'{"contact_id": "0199c0de-0000-7000-8000-000000000001", "email": "a@example.com", "fields": {}}'


@pytest.mark.parametrize(
    "page",
    [
        b"<html>",
        b"[]",
        b'{"members": [{}], "next_cursor": null}',
        b'{"members": [' + _MEMBER.replace(b"{}", b"null") + b'], "next_cursor": null}',
        b'{"members": [' + _MEMBER.replace(b'"a@example.com"', b"7") + b'], "next_cursor": null}',
        b'{"members": [' + _MEMBER + b'], "next_cursor": 7}',
        b'{"members": [' + _MEMBER + b"]}",
    ],
)
async def test_an_audience_that_cannot_be_read_fails_the_send(
    office: Office, campaigns: CampaignsService, page: bytes
) -> None:
    await office.add_relay(PORT)
    campaigns.audience_instead = page
    assert "cannot be read" in await _fails(office, office.add_campaign([]))


async def test_two_planners_write_everybody_once(office: Office) -> None:
    await office.add_relay(PORT)
    campaign_id = office.add_campaign(members(120))
    await office.start(campaign_id)
    planning = office.container.planning
    slow = asyncio.create_task(planning.plan_send(campaign_id))
    for _ in range(5):
        await asyncio.sleep(0.01)
        await office.execute("UPDATE sends SET plan_until = now()")
        await planning.plan_send(campaign_id)
    await slow
    assert len(await office.rows(deliveries, campaign_id)) == 120
    assert len(await office.events(SendPlanned)) == 1


async def test_an_empty_audience_is_drained_at_once(office: Office) -> None:
    campaign_id = await office.plan([], port=PORT)
    (planned,) = await office.events(SendPlanned)
    (drained,) = await office.events(SendDrained)
    assert (planned.data.audience, drained.data.audience, drained.data.sent) == (0, 0, 0)
    assert await office.phase(campaign_id) == "drained"


async def _fails(office: Office, campaign_id: Any, *, relay_id: Any = None) -> str:
    await office.start(campaign_id, relay_id)
    await office.container.planning.plan_send(campaign_id)
    (failed,) = await office.events(SendFailed)
    assert failed.data.campaign_id == campaign_id
    assert await office.phase(campaign_id) == "failed"
    await office.container.planning.plan_send(campaign_id)
    assert len(await office.events(SendFailed)) == 1
    return failed.data.reason


async def test_without_a_relay_the_send_fails(office: Office) -> None:
    assert "no relay" in await _fails(office, office.add_campaign(members(1)))


async def test_with_a_relay_of_another_organisation_the_send_fails(office: Office) -> None:
    stranger = Office(office.container, office.campaigns)
    relay_id = await stranger.add_relay(PORT)
    assert "does not exist" in await _fails(office, office.add_campaign(members(1)), relay_id=relay_id)


async def test_content_that_is_refused_fails_the_send(office: Office, campaigns: CampaignsService) -> None:
    await office.add_relay(PORT)
    campaign_id = office.add_campaign(members(1))
    del campaigns.contents[campaign_id]
    assert "404" in await _fails(office, campaign_id)


async def test_a_template_that_cannot_be_parsed_fails_the_send(office: Office) -> None:
    await office.add_relay(PORT)
    reason = await _fails(office, office.add_campaign(members(1), html="<p>\n{% if %}"))
    assert "line 2" in reason


async def test_while_the_campaigns_service_is_away_planning_waits(office: Office, campaigns: CampaignsService) -> None:
    await office.add_relay(PORT)
    campaign_id = office.add_campaign(members(5))
    await office.start(campaign_id)
    campaigns.broken_after_pages = 0
    with pytest.raises(TransientError):
        await office.container.planning.plan_send(campaign_id)
    (send,) = await office.rows(sends, campaign_id)
    assert (send.status, send.plan_until) == ("sending", None)
