"""A campaign on its way from the start to the last recipient."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import SecretStr

from posthorn_common.clock import new_id
from posthorn_contracts.campaigns.internal_v1 import AudienceMember
from posthorn_contracts.campaigns.v1 import ContactUnsubscribed, ContactUnsubscribedData
from posthorn_contracts.mailer.v1 import ContactSuppressed, SendDrained, SendPlanned
from posthorn_local.ports import free_ports
from posthorn_mailer.adapters.db import deliveries as delivery_records
from posthorn_mailer.adapters.db.deliveries import SqlDeliveries
from posthorn_mailer.adapters.db.tables import batches, deliveries
from posthorn_mailer.app import held_batches
from posthorn_mailer.entrypoints.roles import campaign_worker

from .support import Office, eventually, members

pytestmark = pytest.mark.integration


async def test_everybody_gets_the_message_once_and_everything_is_told(office: Office, smtp_server: Any) -> None:
    audience = members(55)
    await office.add_relay(smtp_server.port)
    campaign_id = office.add_campaign(audience)
    async with office.working("worker", "scheduler"):
        await office.start(campaign_id)
        await eventually(lambda: office.events(SendDrained))
    assert sorted(to for message in smtp_server.messages for to in message.envelope_to) == sorted(
        member.email for member in audience
    )
    assert await office.counts(campaign_id) == await office.told(campaign_id) == {"sent": 55}
    (planned,) = await office.events(SendPlanned)
    assert planned.data.audience == 55
    (drained,) = await office.events(SendDrained)
    assert (drained.data.audience, drained.data.sent) == (55, 55)
    rows = await office.rows(deliveries, campaign_id)
    assert {(row.attempts, row.smtp_code, row.enhanced_code) for row in rows} == {(1, 250, "2.0.0")}
    assert {row.state for row in await office.rows(batches, campaign_id)} == {"done"}
    message = smtp_server.messages_to("reader.7@example.com")[0].message
    assert message["Subject"] == "Hello Reader 7"
    assert message["To"] == "reader.7@example.com"


async def test_a_deferred_delivery_is_tried_again_and_sent(office: Office, smtp_server: Any) -> None:
    audience = members(3)
    smtp_server.reply_to("reader.1@example.com", "451 4.2.1 mailbox busy", times=2)
    await office.add_relay(smtp_server.port)
    campaign_id = office.add_campaign(audience)
    async with office.working("worker", "scheduler"):
        await office.start(campaign_id)
        await eventually(lambda: office.events(SendDrained))
    rows = {row.email: row for row in await office.rows(deliveries, campaign_id)}
    assert (rows["reader.1@example.com"].state, rows["reader.1@example.com"].attempts) == ("sent", 3)
    assert rows["reader.0@example.com"].attempts == 1
    told = [record for record in await office.records(campaign_id) if record.contact_id == audience[1].contact_id]
    assert [(one.outcome, one.previous) for one in told] == [("deferred", None), ("sent", "deferred")]
    assert told[0].smtp_code == 451
    assert await office.told(campaign_id) == {"sent": 3}


async def test_a_delivery_that_is_refused_for_now_for_too_long_fails(office: Office, smtp_server: Any) -> None:
    smtp_server.reply_to("reader.0@example.com", "451 4.2.1 mailbox busy")
    worker, _gate = office.worker(retry_horizon_seconds=0.4)
    campaign_id = await office.plan(members(1), port=smtp_server.port)

    async def failed() -> bool:
        await worker.send_all_due()
        return await office.counts(campaign_id) == {"failed": 1}

    await eventually(failed)
    (row,) = await office.rows(deliveries, campaign_id)
    assert (row.cause, row.smtp_code, row.enhanced_code) == ("recipient", 451, "4.2.1")
    assert row.attempts >= 2
    assert await office.told(campaign_id) == {"failed": 1}


async def test_a_dead_address_bounces_is_suppressed_and_not_mailed_by_the_next_campaign(
    office: Office, smtp_server: Any
) -> None:
    audience = members(3)
    smtp_server.reply_to("reader.1@example.com", "550 5.1.1 no such user")
    campaign_id = await office.plan(audience, port=smtp_server.port)
    await office.send_all()
    assert await office.counts(campaign_id) == await office.told(campaign_id) == {"sent": 2, "bounced": 1}
    (suppressed,) = await office.events(ContactSuppressed)
    assert (suppressed.data.contact_id, suppressed.data.reason) == (audience[1].contact_id, "hard_bounce")

    smtp_server.clear()
    second = office.add_campaign(audience)
    await office.start(second)
    await office.container.planning.plan_send(second)
    await office.send_all()
    assert await office.counts(second) == await office.told(second) == {"sent": 2, "suppressed": 1}
    assert smtp_server.messages_to("reader.1@example.com") == []


async def _suppress(office: Office, email: str, *, days: int | None = None) -> None:
    await office.execute(
        "INSERT INTO suppressions (organisation_id, email, reason, source, created_at, expires_at)"
        " VALUES (:organisation, :email, 'manual', 'api', now(), now() + make_interval(days => CAST(:days AS int)))",
        organisation=office.organisation_id,
        email=email,
        days=days,
    )


async def test_a_whole_domain_is_suppressed_and_nobody_any_more_when_that_has_expired(
    office: Office, smtp_server: Any
) -> None:
    audience = members(3)
    campaign_id = await office.plan(audience, port=smtp_server.port)
    await _suppress(office, "@example.com", days=-1)
    await _suppress(office, "@example.org")
    await _suppress(office, "@ample.com")
    await _suppress(office, "reader.0@example.com", days=1)
    await office.send_all()
    assert await office.counts(campaign_id) == {"sent": 2, "suppressed": 1}
    await _suppress(office, "@other.example")
    await office.execute("UPDATE suppressions SET expires_at = NULL WHERE email = '@example.com'")
    second = office.add_campaign(audience)
    await office.start(second)
    await office.container.planning.plan_send(second)
    await office.send_all()
    assert await office.counts(second) == {"suppressed": 3}


async def test_a_bounce_outlasts_a_suppression_that_expires(office: Office, smtp_server: Any) -> None:
    audience = members(1)
    smtp_server.reply_to("reader.0@example.com", "550 5.1.1 no such user")
    campaign_id = await office.plan(audience, port=smtp_server.port)
    await _suppress(office, "reader.0@example.com", days=-1)
    await office.send_all()
    assert await office.counts(campaign_id) == {"bounced": 1}
    found = await office.container.suppressing.get(office.organisation_id, "reader.0@example.com")
    assert (found.reason, found.expires_at) == ("hard_bounce", None)
    (told,) = await office.events(ContactSuppressed)
    assert told.data.reason == "hard_bounce"


async def test_who_is_suppressed_after_planning_is_not_mailed(office: Office, smtp_server: Any) -> None:
    audience = members(4)
    campaign_id = await office.plan(audience, port=smtp_server.port)
    await office.execute(
        "INSERT INTO suppressions (organisation_id, email, reason, source, created_at)"
        " VALUES (:organisation, 'reader.0@example.com', 'manual', 'api', now())",
        organisation=office.organisation_id,
    )
    left = ContactUnsubscribed.about(
        audience[1].contact_id,
        id=new_id(),
        organisation_id=office.organisation_id,
        occurred_at=datetime.now(UTC),
        data=ContactUnsubscribedData(contact_id=audience[1].contact_id, method="one_click"),
    )
    await office.container.suppressing.on_contact_unsubscribed(left, "mailer")
    await office.send_all()
    assert await office.counts(campaign_id) == await office.told(campaign_id) == {"sent": 2, "suppressed": 2}
    assert {to for message in smtp_server.messages for to in message.envelope_to} == {
        "reader.2@example.com",
        "reader.3@example.com",
    }


async def test_a_message_that_cannot_be_made_fails_alone(office: Office, smtp_server: Any) -> None:
    audience = [
        AudienceMember(contact_id=new_id(), email=f"r{n}@example.com", fields={"n": n}) for n in (3, 100_000, 4)
    ]
    await office.add_relay(smtp_server.port)
    campaign_id = office.add_campaign(audience, text="{% for i in range(contact.n) %}{{ i }}{% endfor %}")
    await office.start(campaign_id)
    await office.container.planning.plan_send(campaign_id)
    await office.send_all()
    assert await office.counts(campaign_id) == {"sent": 2, "failed": 1}
    row = (await office.rows(deliveries, campaign_id))[1]
    assert (row.cause, row.smtp_code) == ("content", None)
    assert "too many steps" in row.reply


async def test_the_relays_pace_is_kept(office: Office, smtp_server: Any) -> None:
    campaign_id = await office.plan(members(12), port=smtp_server.port, relay={"messages_per_second": 10.0})
    began = time.monotonic()
    await office.send_all()
    assert await office.counts(campaign_id) == {"sent": 12}
    assert time.monotonic() - began > 0.5, "a burst of half a second, then one every tenth"


async def test_campaigns_that_share_a_connection_take_turns(office: Office, smtp_server: Any) -> None:
    campaigns = [await office.plan(members(10), port=smtp_server.port, relay={"max_connections": 1})]
    campaigns.append(office.add_campaign(members(10, domain="example.org")))
    await office.start(campaigns[1])
    await office.container.planning.plan_send(campaigns[1])
    await office.send_all()
    first = [message.envelope_to[0].rpartition("@")[2] for message in smtp_server.messages[:10]]
    assert min(first.count("example.com"), first.count("example.org")) >= 4


async def test_a_slow_relay_keeps_neither_planning_nor_other_relays_waiting(
    office: Office, smtp_server: Any, new_container: Any, campaigns: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(held_batches, "_TURN_SECONDS", 0.3)
    async with new_container(batches_per_worker=1) as container:
        small = Office(container, campaigns, office.organisation_id)
        await small.plan(members(50), port=smtp_server.port, relay={"messages_per_second": 0.01})
        relay_id = await small.add_relay(smtp_server.port, is_default=False)
        async with small.working("worker"):
            await eventually(lambda: smtp_server.messages)
            campaign_id = small.add_campaign(members(10, domain="example.org"))
            await small.start(campaign_id, relay_id)
            await eventually(lambda: small.events(SendDrained))
        assert await small.counts(campaign_id) == {"sent": 10}


async def test_a_batch_of_large_recipients_is_sent_in_parts(
    office: Office, smtp_server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivery_records, "_MOST_BYTES", 2500)
    audience = [
        AudienceMember(contact_id=new_id(), email=f"r{n}@example.com", fields={"first_name": "x" * 1000})
        for n in range(10)
    ]
    campaign_id = await office.plan(audience, port=smtp_server.port)
    await office.container.sending.send_batch()
    assert await office.counts(campaign_id) == {"sent": 3, "pending": 7}
    await office.send_all()
    assert await office.counts(campaign_id) == await office.told(campaign_id) == {"sent": 10}
    assert len(smtp_server.messages) == 10


async def test_sending_goes_on_while_redis_is_away(
    office: Office, smtp_server: Any, new_container: Any, campaigns: Any
) -> None:
    async with new_container(redis_url=SecretStr(f"redis://127.0.0.1:{free_ports(1)[0]}/0")) as container:
        deaf = Office(container, campaigns, office.organisation_id)
        await deaf.add_relay(smtp_server.port)
        campaign_id = deaf.add_campaign(members(25))
        stop = asyncio.Event()
        working = asyncio.create_task(campaign_worker(container).run(stop))
        await deaf.start(campaign_id)
        await eventually(lambda: deaf.events(SendDrained))
        stop.set()
        await working
        assert await deaf.counts(campaign_id) == {"sent": 25}


async def test_an_emptied_redis_loses_nothing(office: Office, smtp_server: Any) -> None:
    campaign_id = await office.plan(members(60), port=smtp_server.port)
    await office.container.redis.flushdb()
    async with office.working("worker", "scheduler"):
        await eventually(lambda: len(smtp_server.messages) > 10)
        await office.container.redis.flushdb()
        await eventually(lambda: office.events(SendDrained))
    assert await office.counts(campaign_id) == {"sent": 60}
    assert len(smtp_server.messages) == 60


async def test_an_erasure_while_a_batch_is_given_back_is_told(
    office: Office, smtp_server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    audience = members(2)
    smtp_server.reply_to("reader.1@example.com", "451 4.2.1 mailbox busy")
    worker, _gate = office.worker(retry_base_seconds=600.0)
    campaign_id = await office.plan(audience, port=smtp_server.port)
    await worker.send_all_due()
    assert await office.told(campaign_id) == {"sent": 1, "deferred": 1}
    erasing: list[asyncio.Task[None]] = []

    def then_erase(look: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def look_and_erase(self: SqlDeliveries, batch: Any, *more: Any) -> Any:
            found = await look(self, batch, *more)
            (held,) = await office.rows(batches, campaign_id)
            if not erasing and held.state == "leased":
                erasing.append(asyncio.create_task(office.erase(audience[1].contact_id)))
                await asyncio.wait(erasing, timeout=0.5)  # it may have to wait until the batch is given back
            return found

        return look_and_erase

    for name in ("tally", "take_unreported"):
        monkeypatch.setattr(SqlDeliveries, name, then_erase(getattr(SqlDeliveries, name)))
    await office.execute("UPDATE batches SET not_before = NULL")
    await worker.send_all_due()
    (erased,) = erasing
    await erased
    await worker.send_all_due()
    assert await office.counts(campaign_id) == await office.told(campaign_id) == {"sent": 1, "cancelled": 1}


async def test_an_erased_contact_is_forgotten_and_not_mailed(office: Office, smtp_server: Any) -> None:
    audience = members(3)
    campaign_id = await office.plan(audience, port=smtp_server.port)
    erased = audience[1].contact_id
    event_id = new_id()
    for _ in range(2):
        await office.erase(erased, event_id=event_id)
    await office.send_all()
    assert await office.counts(campaign_id) == await office.told(campaign_id) == {"sent": 2, "cancelled": 1}
    (row,) = [row for row in await office.rows(deliveries, campaign_id) if row.contact_id == erased]
    assert (row.email, row.fields, row.reply) == ("", "{}", None)

    await office.erase(audience[0].contact_id)
    row = (await office.rows(deliveries, campaign_id))[0]
    assert (row.state, row.email, row.fields, row.domain) == ("sent", "", "{}", "example.com")
