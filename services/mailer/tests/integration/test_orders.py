"""Pause, resume, cancel, retry: what was ordered holds, in whatever order it arrives, however often."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from posthorn_contracts.mailer.v1 import SendDrained, SendPlanned
from posthorn_mailer.adapters.db.tables import batches, deliveries

from .support import Office, eventually, members

pytestmark = pytest.mark.integration
CONNECTIONS = 4
T0 = datetime(2026, 3, 1, tzinfo=UTC)


async def test_a_pause_lets_finish_what_is_open_and_a_resume_sends_the_rest_exactly(
    office: Office, smtp_server: Any
) -> None:
    campaign_id = await office.plan(members(60), port=smtp_server.port)
    worker, gate = office.worker()
    gate.after.clear()
    sending = asyncio.create_task(worker.send_all_due())
    await eventually(lambda: len(smtp_server.messages) == CONNECTIONS)
    await office.container.controlling.pause(office.order(campaign_id))
    gate.after.set()
    await sending
    assert len(smtp_server.messages) == CONNECTIONS
    assert await office.counts(campaign_id) == {"sent": CONNECTIONS, "pending": 56}
    assert await office.phase(campaign_id) == "paused"
    await worker.send_all_due()
    await office.container.reconciling.reconcile()
    assert len(smtp_server.messages) == CONNECTIONS

    await office.container.controlling.resume(office.order(campaign_id))
    await worker.send_all_due()
    assert await office.counts(campaign_id) == await office.told(campaign_id) == {"sent": 60}
    assert len({message.envelope_to for message in smtp_server.messages}) == len(smtp_server.messages) == 60


@pytest.mark.parametrize("rate", [None, 30.0])
@pytest.mark.parametrize("order", ["pause", "cancel"])
async def test_after_an_order_no_worker_hands_over_more_than_what_its_connections_had_open(
    office: Office, smtp_server: Any, order: str, rate: float | None
) -> None:
    campaign_id = await office.plan(members(400), port=smtp_server.port, relay={"messages_per_second": rate})
    workers = [office.worker() for _ in range(2)]
    sending = [asyncio.create_task(worker.send_all_due()) for worker, _gate in workers]
    await eventually(lambda: all(gate.passed for _worker, gate in workers))
    await getattr(office.container.controlling, order)(office.order(campaign_id))
    before = len(smtp_server.messages)
    # They let go by themselves: also lanes that the relay's limit makes wait.
    await asyncio.gather(*sending)
    assert before < 400
    assert len(smtp_server.messages) - before <= len(workers) * CONNECTIONS
    counts = await office.counts(campaign_id)
    assert counts["sent"] == len(smtp_server.messages)
    assert "sending" not in counts
    if order == "cancel":
        await office.container.controlling.sweep(campaign_id)


async def test_a_cancelled_send_leaves_everybody_in_a_final_state(office: Office, smtp_server: Any) -> None:
    campaign_id = await office.plan(members(60), port=smtp_server.port)
    async with office.working("worker", "scheduler"):
        await eventually(lambda: len(smtp_server.messages) > 5)
        await office.container.controlling.cancel(office.order(campaign_id))
        await eventually(lambda: office.events(SendDrained))
    counts = await office.counts(campaign_id)
    assert counts == await office.told(campaign_id)
    assert counts["sent"] == len(smtp_server.messages)
    assert counts["sent"] + counts["cancelled"] == 60
    (drained,) = await office.events(SendDrained)
    assert (drained.data.audience, drained.data.cancelled) == (60, counts["cancelled"])
    assert await office.phase(campaign_id) == "cancelled"


async def test_what_a_dead_worker_held_of_a_cancelled_send_ends_in_doubt_or_cancelled(
    office: Office, smtp_server: Any
) -> None:
    campaign_id = await office.plan(members(20), port=smtp_server.port)
    victim, gate = office.worker()
    gate.after.clear()
    sending = asyncio.create_task(victim.send_batch())
    await eventually(lambda: len(smtp_server.messages) == CONNECTIONS)
    await victim.abort()
    await asyncio.gather(sending, return_exceptions=True)
    await office.container.controlling.cancel(office.order(campaign_id))
    await office.container.reconciling.reconcile()
    assert await office.events(SendDrained) == []
    await office.expire_leases()
    await office.send_all()
    await office.container.reconciling.reconcile()
    assert await office.counts(campaign_id) == {"ambiguous": CONNECTIONS, "cancelled": 16}
    assert await office.told(campaign_id) == {"ambiguous": CONNECTIONS, "cancelled": 16}
    assert len(await office.events(SendDrained)) == 1


async def test_orders_that_come_before_the_start_hold(office: Office, smtp_server: Any) -> None:
    await office.add_relay(smtp_server.port)
    paused, cancelled = office.add_campaign(members(5)), office.add_campaign(members(5))
    controlling = office.container.controlling
    await controlling.pause(office.order(paused))
    await controlling.cancel(office.order(cancelled))
    for campaign_id in (paused, cancelled):
        await office.start(campaign_id)
        await office.container.planning.plan_send(campaign_id)
    await office.send_all()
    assert smtp_server.messages == []
    assert await office.counts(paused) == {"pending": 5}
    assert await office.phase(cancelled) == "cancelled"
    await office.container.reconciling.reconcile()
    (drained,) = await office.events(SendDrained)
    assert (drained.data.campaign_id, drained.data.audience) == (cancelled, 0)
    await controlling.resume(office.order(paused))
    await office.send_all()
    assert await office.counts(paused) == {"sent": 5}


@pytest.mark.parametrize(
    ("arrivals", "phase"),
    [
        (["pause 1", "resume 2"], "sending"),
        (["resume 2", "pause 1"], "sending"),
        (["pause 1", "pause 3", "resume 2"], "paused"),
        (["pause 3", "pause 1", "resume 2"], "paused"),
        (["cancel 3", "pause 1", "resume 2"], "cancelled"),
        (["resume 2", "cancel 1"], "cancelled"),
    ],
)
async def test_the_order_that_was_given_last_counts_not_the_one_that_arrives_last(
    office: Office, arrivals: list[str], phase: str
) -> None:
    campaign_id = await office.plan(members(1), port=1)
    for arrival in arrivals:
        verb, number = arrival.split()
        order = office.order(campaign_id, at=T0 + timedelta(seconds=int(number)))
        await getattr(office.container.controlling, verb)(order)
    assert await office.phase(campaign_id) == phase


async def test_an_order_that_comes_twice_counts_once(office: Office, smtp_server: Any) -> None:
    campaign_id = await office.plan(members(3), port=smtp_server.port)
    controlling = office.container.controlling
    pause, resume = office.order(campaign_id), office.order(campaign_id)
    for order, verb in ((pause, controlling.pause), (resume, controlling.resume), (pause, controlling.pause)):
        await verb(order)
    assert await office.phase(campaign_id) == "sending"
    start = office.order(campaign_id)
    for _ in range(2):
        await controlling.start(start, name="Another name", relay_id=None, messages_per_second=None)
    await office.container.planning.plan_send(campaign_id)
    assert len(await office.rows(deliveries, campaign_id)) == 3
    assert len(await office.events(SendPlanned)) == 1


async def test_an_order_of_another_organisation_changes_nothing(office: Office) -> None:
    campaign_id = await office.plan(members(1), port=1)
    stranger = Office(office.container, office.campaigns)
    await office.container.controlling.cancel(stranger.order(campaign_id))
    assert await office.phase(campaign_id) == "sending"


async def test_retry_failed_sends_the_failed_ones_again_and_tells_the_end_again(
    office: Office, smtp_server: Any
) -> None:
    smtp_server.reply_to("reader.1@example.com", "554 5.7.1 policy", times=1)
    smtp_server.reply_to("reader.2@example.com", "550 5.1.1 no such user")
    campaign_id = await office.plan(members(15), port=smtp_server.port)
    await office.send_all()
    assert await office.counts(campaign_id) == {"sent": 13, "failed": 1, "bounced": 1}
    retry = office.order(campaign_id)
    for _ in range(2):
        await office.container.controlling.retry_failed(retry)
    assert await office.counts(campaign_id) == {"sent": 13, "pending": 1, "bounced": 1}
    await office.send_all()
    assert await office.counts(campaign_id) == await office.told(campaign_id) == {"sent": 14, "bounced": 1}
    assert [one.data.failed for one in await office.events(SendDrained)] == [1, 0]
    last = (await office.records(campaign_id))[-1]
    assert (last.outcome, last.previous) == ("sent", "failed")


async def test_a_retry_where_nothing_has_failed_tells_the_end_again(office: Office, smtp_server: Any) -> None:
    campaign_id = await office.plan(members(2), port=smtp_server.port)
    await office.send_all()
    await office.container.controlling.retry_failed(office.order(campaign_id))
    assert len(await office.events(SendDrained)) == 2
    assert {row.state for row in await office.rows(batches, campaign_id)} == {"done"}


async def test_a_cancel_during_planning_ends_it_where_it_is(office: Office, campaigns: Any) -> None:
    await office.add_relay(1)
    campaign_id: UUID = office.add_campaign(members(90))
    await office.start(campaign_id)
    campaigns.broken_after_pages = 1
    await asyncio.gather(office.container.planning.plan_send(campaign_id), return_exceptions=True)
    await office.container.controlling.cancel(office.order(campaign_id))
    campaigns.broken_after_pages = None
    await office.container.planning.plan_send(campaign_id)
    await office.container.reconciling.reconcile()
    assert await office.counts(campaign_id) == await office.told(campaign_id) == {"cancelled": 25}
    assert [one.data.audience for one in await office.events(SendPlanned)] == [25]
    assert [one.data.audience for one in await office.events(SendDrained)] == [25]
