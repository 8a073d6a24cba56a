"""What the mailer tells: once, twice, in any order, and poisoned."""

from __future__ import annotations

import asyncio
import math
import random
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import aio_pika
import httpx
import pytest
import sqlalchemy as sa

from posthorn_campaigns.bootstrap import Container
from posthorn_campaigns.entrypoints.consumers import CONSUMER, subscribe
from posthorn_common.clock import new_id
from posthorn_common.messaging import list_dead_letters
from posthorn_contracts.mailer.v1 import (
    ContactSuppressed,
    ContactSuppressedData,
    DeliveriesRecorded,
    SendFailed,
    SendFailedData,
    SendGuarded,
    SendGuardedData,
    SendImpeded,
    SendImpededData,
    SendPlanned,
    SendPlannedData,
    SendRecovered,
    SendRecoveredData,
)

from .campaign_support import Office, drained, event_types_about, events_about, recorded, told

pytestmark = pytest.mark.integration


@pytest.fixture
def office(client: httpx.AsyncClient, headers: Any, organisation_id: Any) -> Office:
    return Office(client, headers, organisation_id)


@pytest.fixture
async def campaign(office: Office, container: Container) -> Any:
    return await office.a_started_campaign(container)


def planned(office: Office, campaign: Any, audience: int) -> SendPlanned:
    data = SendPlannedData(campaign_id=UUID(campaign["id"]), audience=audience)
    event: SendPlanned = told(SendPlanned, office, campaign["id"], data)
    return event


def impeded(office: Office, campaign: Any, at: datetime) -> SendImpeded:
    data = SendImpededData(campaign_id=UUID(campaign["id"]), reason="Relay Main does not answer", since=at)
    event: SendImpeded = told(SendImpeded, office, campaign["id"], data, at=at)
    return event


def recovered(office: Office, campaign: Any, at: datetime) -> SendRecovered:
    data = SendRecoveredData(campaign_id=UUID(campaign["id"]))
    event: SendRecovered = told(SendRecovered, office, campaign["id"], data, at=at)
    return event


def failed(office: Office, campaign: Any) -> SendFailed:
    data = SendFailedData(campaign_id=UUID(campaign["id"]), reason="The organisation has no relay")
    event: SendFailed = told(SendFailed, office, campaign["id"], data)
    return event


def suppressed(office: Office, contact: Any, reason: Any) -> ContactSuppressed:
    data = ContactSuppressedData(contact_id=UUID(contact["id"]), reason=reason)
    event: ContactSuppressed = told(ContactSuppressed, office, contact["id"], data)
    return event


def guarded(office: Office, campaign: Any) -> SendGuarded:
    data = SendGuardedData(
        campaign_id=UUID(campaign["id"]), code="hard_bounce_rate", reason="30 of 200 messages have bounced."
    )
    event: SendGuarded = told(SendGuarded, office, campaign["id"], data)
    return event


async def test_a_guard_pauses_the_campaign_and_says_why_until_a_person_resumes_it(
    office: Office, container: Container, campaign: Any
) -> None:
    event = guarded(office, campaign)
    await asyncio.gather(*(container.following_sends.on_send_guarded(event) for _ in range(2)))
    paused = await office.campaign(campaign)
    assert (paused["status"], paused["paused_code"]) == ("paused", "hard_bounce_rate")
    assert paused["paused_reason"] == "30 of 200 messages have bounced."
    assert (await event_types_about(container, campaign)).count("campaign.paused") == 1
    resumed = await office.act(campaign, "resume")
    assert (resumed["status"], resumed["paused_code"], resumed["paused_reason"]) == ("sending", None, None)
    await container.following_sends.on_send_guarded(event)
    assert (await office.campaign(campaign))["status"] == "sending", "the same event does not pause it again"


async def test_a_guard_tells_why_where_a_person_was_quicker_and_leaves_what_is_over(
    office: Office, container: Container, campaign: Any
) -> None:
    await office.act(campaign, "pause")
    await container.following_sends.on_send_guarded(guarded(office, campaign))
    assert (await office.campaign(campaign))["paused_code"] == "hard_bounce_rate"
    assert (await event_types_about(container, campaign)).count("campaign.paused") == 1
    await office.act(campaign, "cancel")
    await container.following_sends.on_send_guarded(guarded(office, campaign))
    over = await office.campaign(campaign)
    assert (over["status"], over["paused_code"], over["paused_reason"]) == ("cancelled", None, None)


async def test_counts_move_with_the_outcomes(office: Office, container: Container, campaign: Any) -> None:
    following = container.following_sends
    await following.on_send_planned(planned(office, campaign, 5))
    await following.on_deliveries_recorded(
        recorded(office, campaign, ("sent", None), ("sent", None), ("deferred", None), ("ambiguous", None))
    )
    await following.on_deliveries_recorded(
        recorded(office, campaign, ("sent", "ambiguous"), ("bounced", "deferred"), ("suppressed", None))
    )
    counts = (await office.campaign(campaign))["counts"]
    assert counts == {
        "audience": 5, "sent": 3, "bounced": 1, "failed": 0, "suppressed": 1, "cancelled": 0, "ambiguous": 0,
    }  # fmt: skip


async def test_the_rate_and_what_remains_are_shown_while_it_is_sent(
    office: Office, container: Container, campaign: Any
) -> None:
    following = container.following_sends
    assert (await office.campaign(campaign))["eta_seconds"] is None
    await following.on_send_planned(planned(office, campaign, 60))
    await following.on_deliveries_recorded(recorded(office, campaign, *[("sent", None)] * 30, ("deferred", None)))
    shown = await office.campaign(campaign)
    assert 0 < shown["rate_per_second"] <= 3.0, "thirty outcomes within ten seconds, and the deferred is none"
    assert shown["eta_seconds"] == pytest.approx(30 / shown["rate_per_second"], rel=0.2)
    listed = (await office.get("/v1/campaigns"))["items"][0]
    assert listed["rate_per_second"] <= shown["rate_per_second"], "it fades while nothing is told"
    paused = await office.act(campaign, "pause")
    assert (paused["rate_per_second"], paused["eta_seconds"]) == (0.0, None)


@pytest.mark.parametrize("age", ["20 seconds", "30 days", "-1 hour"])
async def test_a_rate_fades_and_survives_any_clock(office: Office, container: Container, age: str) -> None:
    campaign = await office.a_started_campaign(container)
    await container.following_sends.on_deliveries_recorded(recorded(office, campaign, ("sent", None)))
    async with container.engine.begin() as connection:
        await connection.execute(
            sa.text("UPDATE campaigns SET rate = 30, rated_at = clock_timestamp() - CAST(:age AS text)::interval"),
            {"age": age},
        )
    faded = (await office.campaign(campaign))["rate_per_second"]
    assert faded == {"20 seconds": pytest.approx(30 * math.exp(-2), abs=0.5), "30 days": 0.0, "-1 hour": 30.0}[age]
    await container.following_sends.on_deliveries_recorded(recorded(office, campaign, ("sent", None)))
    assert (await office.campaign(campaign))["rate_per_second"] == pytest.approx(faded + 0.1, rel=0.2, abs=0.05)


async def test_a_move_told_before_the_outcome_it_moves_from_shows_no_negative_count(
    office: Office, container: Container, campaign: Any
) -> None:
    following = container.following_sends
    await following.on_deliveries_recorded(recorded(office, campaign, ("sent", "ambiguous")))
    counts = (await office.campaign(campaign))["counts"]
    assert (counts["sent"], counts["ambiguous"]) == (1, 0)
    await following.on_deliveries_recorded(recorded(office, campaign, ("ambiguous", None)))
    counts = (await office.campaign(campaign))["counts"]
    assert (counts["sent"], counts["ambiguous"]) == (1, 0)


async def test_every_event_delivered_twice_changes_nothing_the_second_time(
    office: Office, container: Container, campaign: Any
) -> None:
    following = container.following_sends
    contact = await office.a_contact()
    now = datetime.now(UTC)
    steps: list[tuple[Any, Any]] = [
        (following.on_send_planned, planned(office, campaign, 3)),
        (following.on_deliveries_recorded, recorded(office, campaign, ("sent", None), ("failed", None))),
        (following.on_send_impeded, impeded(office, campaign, now)),
        (following.on_send_recovered, recovered(office, campaign, now + timedelta(seconds=1))),
        (following.on_contact_suppressed, suppressed(office, contact, "hard_bounce")),
        (following.on_send_drained, drained(office, campaign, sent=1, failed=2)),
    ]
    for handle, event in steps:
        await handle(event)
        before = await _everything(office, container, campaign, contact)
        await asyncio.gather(handle(event), handle(event))
        assert await _everything(office, container, campaign, contact) == before, handle.__name__
    other = await office.a_started_campaign(container)
    event = failed(office, other)
    await following.on_send_failed(event)
    before = await _everything(office, container, other, contact)
    await following.on_send_failed(event)
    assert await _everything(office, container, other, contact) == before


async def _everything(office: Office, container: Container, campaign: Any, contact: Any) -> Any:
    return (
        await office.campaign(campaign),
        await office.get(f"/v1/contacts/{contact['id']}"),
        await events_about(container, campaign),
    )


async def test_events_in_any_order_end_in_the_same_counts(office: Office, container: Container) -> None:
    for seed in range(6):
        campaign = await office.a_started_campaign(container)
        following = container.following_sends
        steps: list[tuple[Any, Any]] = [
            (following.on_send_planned, planned(office, campaign, 4)),
            (following.on_deliveries_recorded, recorded(office, campaign, ("sent", None), ("ambiguous", None))),
            (following.on_deliveries_recorded, recorded(office, campaign, ("sent", "ambiguous"), ("failed", None))),
            (following.on_deliveries_recorded, recorded(office, campaign, ("deferred", None), ("sent", "deferred"))),
            (following.on_send_drained, drained(office, campaign, later=1, sent=3, failed=1)),
        ]
        steps += steps[:3]
        random.Random(seed).shuffle(steps)
        for handle, event in steps:
            await handle(event)
        done = await office.campaign(campaign)
        assert (done["status"], done["counts"]["sent"], done["counts"]["failed"]) == ("completed_with_errors", 3, 1)
        again = await office.act(campaign, "retry-failed")
        assert (again["counts"]["audience"], again["counts"]["sent"], again["counts"]["failed"]) == (4, 3, 1)
        assert again["counts"]["ambiguous"] == 0


@pytest.mark.parametrize(
    ("counts", "status"),
    [
        ({"sent": 3, "suppressed": 1}, "completed"),
        ({"sent": 3, "bounced": 1}, "completed"),
        ({}, "completed"),
        ({"sent": 3, "failed": 1}, "completed_with_errors"),
        ({"sent": 3, "ambiguous": 1}, "completed_with_errors"),
    ],
)
async def test_the_last_delivery_completes_the_campaign_with_exact_counts(
    office: Office, container: Container, campaign: Any, counts: dict[str, int], status: str
) -> None:
    await container.following_sends.on_send_drained(drained(office, campaign, **counts))
    done = await office.campaign(campaign)
    assert (done["status"], done["completed_at"] is not None) == (status, True)
    assert {name: count for name, count in done["counts"].items() if count and name != "audience"} == counts
    assert done["counts"]["audience"] == sum(counts.values()), "although no outcome has been told yet"
    assert (await events_about(container, campaign))[-1] == (
        "campaign.completed",
        {"campaign_id": campaign["id"], "status": status},
    )


async def test_a_campaign_whose_last_deliveries_end_while_it_is_paused_is_completed(
    office: Office, container: Container, campaign: Any
) -> None:
    await office.act(campaign, "pause")
    await container.following_sends.on_send_drained(drained(office, campaign, sent=1))
    done = await office.campaign(campaign)
    assert (done["status"], done["paused_at"]) == ("completed", None)


async def test_a_resolved_doubt_turns_errors_into_completion(
    office: Office, container: Container, campaign: Any
) -> None:
    following = container.following_sends
    await following.on_send_drained(drained(office, campaign, sent=2, ambiguous=2))
    await following.on_send_drained(drained(office, campaign, later=1, sent=3, ambiguous=1))
    middle = await office.campaign(campaign)
    assert (middle["status"], middle["counts"]["ambiguous"]) == ("completed_with_errors", 1)
    await following.on_send_drained(drained(office, campaign, later=2, sent=4))
    done = await office.campaign(campaign)
    assert (done["status"], done["counts"]["sent"], done["counts"]["ambiguous"]) == ("completed", 4, 0)
    completed = [data["status"] for kind, data in await events_about(container, campaign) if "completed" in kind]
    assert completed == ["completed_with_errors", "completed"]


async def test_final_counts_that_arrive_late_do_not_replace_newer_ones(
    office: Office, container: Container, campaign: Any
) -> None:
    older = drained(office, campaign, sent=2, ambiguous=1)
    await container.following_sends.on_send_drained(drained(office, campaign, later=1, sent=3))
    before = await office.campaign(campaign)
    await container.following_sends.on_send_drained(older)
    assert await office.campaign(campaign) == before


async def test_a_cancelled_campaign_stays_cancelled(office: Office, container: Container, campaign: Any) -> None:
    await office.act(campaign, "cancel")
    following = container.following_sends
    await following.on_deliveries_recorded(recorded(office, campaign, ("cancelled", None), ("sent", None)))
    await following.on_send_drained(drained(office, campaign, sent=1, cancelled=1))
    await following.on_send_failed(failed(office, campaign))
    await following.on_send_impeded(impeded(office, campaign, datetime.now(UTC)))
    done = await office.campaign(campaign)
    assert (done["status"], done["notice"], done["failure_reason"]) == ("cancelled", None, None)
    assert (done["counts"]["sent"], done["counts"]["cancelled"]) == (1, 1)
    assert "campaign.completed" not in await event_types_about(container, campaign)


async def test_a_send_that_fails_fails_the_campaign_with_the_reason(
    office: Office, container: Container, campaign: Any
) -> None:
    await container.following_sends.on_send_failed(failed(office, campaign))
    done = await office.campaign(campaign)
    assert (done["status"], done["failure_reason"]) == ("failed", "The organisation has no relay")
    assert (await events_about(container, campaign))[-1][1]["status"] == "failed"


async def test_a_notice_comes_and_goes_and_an_old_one_does_not_come_back(
    office: Office, container: Container, campaign: Any
) -> None:
    following = container.following_sends
    now = datetime.now(UTC)
    await following.on_send_impeded(impeded(office, campaign, now))
    shown = await office.campaign(campaign)
    assert (shown["status"], shown["notice"]) == ("sending", "Relay Main does not answer")
    await following.on_send_recovered(recovered(office, campaign, now + timedelta(seconds=2)))
    assert (await office.campaign(campaign))["notice"] is None
    await following.on_send_impeded(impeded(office, campaign, now + timedelta(seconds=1)))
    assert (await office.campaign(campaign))["notice"] is None
    await following.on_send_impeded(impeded(office, campaign, now + timedelta(seconds=3)))
    paused = await office.act(campaign, "pause")
    assert paused["notice"] == "Relay Main does not answer"
    await following.on_send_drained(drained(office, campaign, sent=1))
    assert (await office.campaign(campaign))["notice"] is None


async def test_events_about_a_campaign_that_is_gone_or_of_another_organisation_do_no_harm(
    office: Office, container: Container, campaign: Any, sign_in: Any
) -> None:
    following = container.following_sends
    stranger = Office(office.client, sign_in(), new_id())
    for subject in (campaign, {"id": str(new_id())}):
        await following.on_send_planned(planned(stranger, subject, 7))
        await following.on_deliveries_recorded(recorded(stranger, subject, ("sent", None)))
        await following.on_send_impeded(impeded(stranger, subject, datetime.now(UTC)))
        await following.on_send_failed(failed(stranger, subject))
        await following.on_send_drained(drained(stranger, subject, sent=7))
    assert await office.campaign(campaign) == campaign


@pytest.mark.parametrize(
    ("reasons", "status"),
    [
        (["hard_bounce"], "bounced"),
        (["complaint"], "complained"),
        (["complaint", "hard_bounce"], "complained"),
        (["hard_bounce", "complaint"], "complained"),
        (["manual"], "active"),
        (["unsubscribe"], "active"),
    ],
)
async def test_suppressions_show_in_the_contact_the_stronger_reason_stays(
    office: Office, container: Container, reasons: list[str], status: str
) -> None:
    contact = await office.a_contact()
    for reason in reasons:
        await container.following_sends.on_contact_suppressed(suppressed(office, contact, reason))
    assert (await office.get(f"/v1/contacts/{contact['id']}"))["status"] == status


async def test_poison_goes_to_the_dead_letters_and_the_rest_goes_on(
    office: Office, container: Container, campaign: Any, amqp_url: str, eventually: Any
) -> None:
    subscribe(
        container.bus,
        container.following_sends,
        container.following_suppressions,
        container.erasing,
        container.unsubscribing,
    )
    stop = asyncio.Event()
    consuming = asyncio.create_task(container.bus.run(stop))
    try:
        await eventually(lambda: _queues_exist(amqp_url))
        poison_id = str(new_id())
        await _publish_raw(amqp_url, DeliveriesRecorded.event_type, b'{"id": "no event"}', poison_id)
        event = recorded(office, campaign, ("sent", None))
        for _ in range(2):
            await container.bus.publish(event.type, event.model_dump_json().encode(), event_id=event.id)
        last = drained(office, campaign, sent=1)
        await container.bus.publish(last.type, last.model_dump_json().encode(), event_id=last.id)
        done = await eventually(lambda: office.campaign(campaign), lambda now: now["status"] == "completed")
        assert done["counts"]["sent"] == 1
        letters = await eventually(lambda: list_dead_letters(amqp_url, CONSUMER, limit=100))
        assert [letter.event_id for letter in letters] == [poison_id]
    finally:
        stop.set()
        await consuming


async def _queues_exist(amqp_url: str) -> bool:
    connection = await aio_pika.connect(amqp_url)
    async with connection:
        for kind in (DeliveriesRecorded, ContactSuppressed):
            try:
                async with connection.channel() as channel:
                    queue = await channel.declare_queue(f"{CONSUMER}.{kind.event_type}", passive=True)
                    if queue.declaration_result.consumer_count == 0:
                        return False
            except aio_pika.exceptions.ChannelNotFoundEntity:
                return False
    return True


async def _publish_raw(amqp_url: str, event_type: str, body: bytes, message_id: str) -> None:
    connection = await aio_pika.connect(amqp_url)
    async with connection, connection.channel() as channel:
        exchange = await channel.get_exchange("posthorn.events")
        message = aio_pika.Message(
            body, message_id=message_id, type=event_type, delivery_mode=aio_pika.DeliveryMode.PERSISTENT
        )
        await exchange.publish(message, event_type)
