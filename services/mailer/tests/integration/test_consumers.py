"""Events from RabbitMQ, from the first campaign's start to its last outcome."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest

from posthorn_common.clock import new_id
from posthorn_common.messaging import BrokerUnavailable, delivery, list_dead_letters
from posthorn_contracts.campaigns.internal_v1 import ErasureSubject
from posthorn_contracts.campaigns.v1 import (
    CampaignCancelled,
    CampaignPaused,
    CampaignRef,
    CampaignResumed,
    CampaignRetryRequested,
    CampaignStarted,
    CampaignStartedData,
    ContactErased,
    ContactErasedData,
)
from posthorn_contracts.envelope import Event, Payload
from posthorn_mailer.adapters.db.tables import deliveries, sends

from .support import Office, eventually, members

pytestmark = pytest.mark.integration


def an_event(kind: type[Event], office: Office, data: Payload) -> Event:
    return kind.about(
        new_id(), id=new_id(), organisation_id=office.organisation_id, occurred_at=datetime.now(UTC), data=data
    )


async def publish(office: Office, event: Event, *, times: int = 1) -> None:
    body = event.model_dump_json().encode()
    for _ in range(times):
        await office.container.bus.publish(event.type, body, event_id=event.id)


def started(office: Office, campaign_id: UUID, **changes: Any) -> Event:
    data = CampaignStartedData(campaign_id=campaign_id, name="Letter", template_version_id=new_id(), **changes)
    return an_event(CampaignStarted, office, data)


async def test_a_started_campaign_is_sent_though_its_event_comes_twice(office: Office, smtp_server: Any) -> None:
    await office.add_relay(smtp_server.port)
    campaign_id = office.add_campaign(members(12))
    async with office.working("consumer", "worker", "scheduler"):
        await publish(office, started(office, campaign_id), times=2)

        async def drained() -> bool:
            return bool(rows := await office.rows(sends, campaign_id)) and rows[0].drained_at is not None

        await eventually(drained)
    assert await office.counts(campaign_id) == {"sent": 12}
    assert len(smtp_server.messages) == 12


async def test_a_campaign_says_what_becomes_of_deliveries_in_doubt_or_leaves_it_to_the_mailer(office: Office) -> None:
    silent, eager = office.add_campaign([]), office.add_campaign([])
    async with office.working("consumer"):
        await publish(office, started(office, silent))
        await publish(office, started(office, eager, on_ambiguous="resend"), times=2)
        for campaign_id, policy in ((silent, "hold"), (eager, "resend")):
            rows = await eventually(lambda campaign_id=campaign_id: office.rows(sends, campaign_id))
            assert rows[0].on_ambiguous == policy


async def test_orders_and_erasures_arrive_each_though_they_come_twice(office: Office, smtp_server: Any) -> None:
    smtp_server.reply_to("reader.0@example.com", "554 5.7.1 policy", times=1)
    audience = members(3)
    campaign_id = await office.plan(audience, port=smtp_server.port)
    await office.send_all()
    ref = CampaignRef(campaign_id=campaign_id)
    async with office.working("consumer"):
        await publish(office, an_event(CampaignPaused, office, ref), times=2)
        await eventually(lambda: _status_is(office, campaign_id, "paused"))
        await publish(office, an_event(CampaignResumed, office, ref), times=2)
        await eventually(lambda: _status_is(office, campaign_id, "sending"))
        await publish(office, an_event(CampaignRetryRequested, office, ref), times=2)
        await eventually(lambda: _counts_are(office, campaign_id, {"sent": 2, "pending": 1}))
        await publish(office, an_event(CampaignCancelled, office, ref), times=2)
        await eventually(lambda: _status_is(office, campaign_id, "cancelled"))
        erased = audience[2].contact_id
        erasure_id = new_id()
        office.campaigns.erased[erasure_id] = ErasureSubject(
            erasure_id=erasure_id, organisation_id=office.organisation_id, contact_id=erased, email=audience[2].email
        )
        data = ContactErasedData(contact_id=erased, erasure_id=erasure_id)
        await publish(office, an_event(ContactErased, office, data), times=2)

        async def forgotten() -> bool:
            return (await office.rows(deliveries, campaign_id))[2].email == ""

        await eventually(forgotten)


async def test_a_poison_event_is_dead_lettered_and_the_rest_goes_on(
    office: Office, amqp_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivery, "_FIRST_PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(delivery, "_LONGEST_PAUSE_SECONDS", 0.05)
    await office.add_relay(1)
    campaign_id = office.add_campaign(members(1))
    unreadable = started(office, new_id())
    poison = started(office, new_id())
    # PostgreSQL cannot store NUL, so the handler fails each time.
    body = poison.model_dump_json().replace('"Letter"', '"Let\\u0000ter"').encode()
    async with office.working("consumer"):
        await office.container.bus.publish(unreadable.type, b'{"no": "event"}', event_id=unreadable.id)
        await office.container.bus.publish(poison.type, body, event_id=poison.id)
        await publish(office, started(office, campaign_id))
        await eventually(lambda: _status_is(office, campaign_id, "sending"))

        async def buried() -> bool:
            try:
                letters = await list_dead_letters(amqp_url, "mailer", 100)
            except BrokerUnavailable:  # on a busy machine, while the failures' long tracebacks are written
                return False
            return {str(unreadable.id), str(poison.id)} <= {str(letter.event_id) for letter in letters}

        await eventually(buried)


async def _status_is(office: Office, campaign_id: UUID, status: str) -> bool:
    rows = await office.rows(sends, campaign_id)
    return bool(rows) and rows[0].status == status


async def _counts_are(office: Office, campaign_id: UUID, counts: dict[str, int]) -> bool:
    return await office.counts(campaign_id) == counts
