"""Workers die, freeze and lose their leases: nobody is lost, nobody is mailed twice."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest

from posthorn_contracts.mailer.v1 import SendDrained
from posthorn_mailer.adapters.db.tables import batches, deliveries
from posthorn_mailer.domain.deliveries import Resolution
from posthorn_mailer.domain.replies import Stage, replied, unanswered

from .support import Office, eventually, members

pytestmark = pytest.mark.integration
CONNECTIONS = 4


def received(smtp_server: Any) -> Counter[str]:
    return Counter(to for message in smtp_server.messages for to in message.envelope_to)


async def states(office: Office, campaign_id: Any) -> dict[int, str]:
    return {row.number: row.state for row in await office.rows(deliveries, campaign_id)}


@pytest.mark.parametrize("step", ["before", "after"])
async def test_a_worker_killed_between_open_and_close_leaves_at_most_one_in_doubt_per_connection(
    office: Office, smtp_server: Any, step: str
) -> None:
    audience = members(30)
    campaign_id = await office.plan(audience, port=smtp_server.port)
    victim, gate = office.worker()
    getattr(gate, step).clear()
    sending = asyncio.create_task(victim.send_batch())
    delivered = CONNECTIONS if step == "after" else 0
    await eventually(lambda: gate.waiting == CONNECTIONS and len(smtp_server.messages) == delivered)
    await victim.abort()
    sending.cancel()
    await asyncio.gather(sending, return_exceptions=True)
    assert Counter((await states(office, campaign_id)).values()) == {"sending": CONNECTIONS, "pending": 26}

    await office.expire_leases()
    await office.send_all()
    counts = await office.counts(campaign_id)
    assert counts == await office.told(campaign_id) == {"ambiguous": CONNECTIONS, "sent": 26}
    arrived = received(smtp_server)
    assert max(arrived.values()) == 1
    assert len(arrived) == 26 + delivered
    in_doubt = {row.email for row in await office.rows(deliveries, campaign_id) if row.state == "ambiguous"}
    assert {member.email for member in audience} - arrived.keys() <= in_doubt
    (drained,) = await office.events(SendDrained)
    assert (drained.data.audience, drained.data.sent, drained.data.ambiguous) == (30, 26, CONNECTIONS)


async def test_a_worker_killed_before_it_opens_anything_leaves_nobody_in_doubt(
    office: Office, smtp_server: Any
) -> None:
    campaign_id = await office.plan(members(10), port=smtp_server.port)
    await office.execute("UPDATE batches SET state = 'leased', lease_epoch = 1, lease_until = now(), owner = 'dead'")
    await office.send_all()
    assert await office.counts(campaign_id) == {"sent": 10}


async def test_a_worker_killed_after_its_last_close_leaves_nothing_untold(office: Office, smtp_server: Any) -> None:
    campaign_id = await office.plan(members(10), port=smtp_server.port)
    victim, _gate = office.worker(report_seconds=60.0)
    finish, victim._finish = victim._finish, lambda held: asyncio.Event().wait()  # type: ignore[method-assign]
    sending = asyncio.create_task(victim.send_batch())
    await eventually(lambda: len(smtp_server.messages) == 10)

    async def closed() -> bool:
        return set((await states(office, campaign_id)).values()) == {"sent"}

    await eventually(closed)
    assert await office.told(campaign_id) == {}
    sending.cancel()
    await asyncio.gather(sending, return_exceptions=True)
    await office.expire_leases()
    await office.send_all()
    assert await office.told(campaign_id) == {"sent": 10}
    assert len(smtp_server.messages) == 10
    assert len(await office.events(SendDrained)) == 1
    assert finish is not None


async def test_a_frozen_worker_opens_nothing_more_and_its_late_answers_end_the_doubt(
    office: Office, smtp_server: Any
) -> None:
    campaign_id = await office.plan(members(10), port=smtp_server.port)
    frozen, gate = office.worker()
    gate.after.clear()
    sending = asyncio.create_task(frozen.send_batch())
    await eventually(lambda: len(smtp_server.messages) == CONNECTIONS)
    await office.expire_leases()
    await office.send_all()
    assert await office.told(campaign_id) == {"sent": 6, "ambiguous": CONNECTIONS}

    gate.after.set()
    await sending
    assert gate.passed == CONNECTIONS, "it has sent only what it had opened"
    assert await office.counts(campaign_id) == {"sent": 10}
    await office.container.reconciling.reconcile()
    assert await office.told(campaign_id) == {"sent": 10}
    assert max(received(smtp_server).values()) == 1
    drained = await office.events(SendDrained)
    assert [(one.data.sent, one.data.ambiguous) for one in drained] == [(6, CONNECTIONS), (10, 0)]


async def test_late_answers_that_their_worker_has_told_itself_are_counted_too(office: Office, smtp_server: Any) -> None:
    campaign_id = await office.plan(members(10), port=smtp_server.port)
    frozen, gate = office.worker()
    gate.after.clear()
    frozen._finish = lambda held: asyncio.Event().wait()  # type: ignore[assignment, method-assign]
    sending = asyncio.create_task(frozen.send_batch())
    await eventually(lambda: len(smtp_server.messages) == CONNECTIONS)
    await office.expire_leases()
    await office.send_all()
    gate.after.set()

    async def told_by_itself() -> bool:
        await frozen.report_outcomes()
        return await office.told(campaign_id) == {"sent": 10}

    await eventually(told_by_itself)
    await office.container.reconciling.reconcile()
    drained = await office.events(SendDrained)
    assert [(one.data.sent, one.data.ambiguous) for one in drained] == [(6, CONNECTIONS), (10, 0)]
    sending.cancel()
    await asyncio.gather(sending, return_exceptions=True)


async def test_what_a_frozen_worker_had_opened_and_a_person_has_sent_again_is_not_sent_by_it(
    office: Office, smtp_server: Any
) -> None:
    audience = members(10)
    campaign_id = await office.plan(audience, port=smtp_server.port)
    slept = 0.0
    frozen, gate = office.worker(uptime=lambda: slept, lease_seconds=30.0)
    gate.before.clear()
    sending = asyncio.create_task(frozen.send_batch())
    await eventually(lambda: gate.waiting == CONNECTIONS)
    await office.expire_leases()
    await office.send_all()
    assert await office.counts(campaign_id) == {"sent": 6, "ambiguous": CONNECTIONS}
    for member in audience[:CONNECTIONS]:
        await office.container.resolving.resolve(
            office.organisation_id, campaign_id, member.contact_id, Resolution.RESEND
        )
    await office.send_all()
    assert await office.counts(campaign_id) == {"sent": 10}

    slept = 31.0
    gate.before.set()
    await sending
    assert await office.counts(campaign_id) == await office.told(campaign_id) == {"sent": 10}
    assert max(received(smtp_server).values()) == 1


async def test_what_a_frozen_worker_had_opened_is_sent_by_the_next_though_nobody_decides(
    office: Office, smtp_server: Any
) -> None:
    campaign_id = await office.plan(members(10), port=smtp_server.port)
    slept = 0.0
    frozen, gate = office.worker(uptime=lambda: slept, lease_seconds=30.0)
    gate.before.clear()
    sending = asyncio.create_task(frozen.send_batch())
    await eventually(lambda: gate.waiting == CONNECTIONS)
    await office.expire_leases()
    await office.send_all()
    slept = 31.0
    gate.before.set()
    await sending
    assert await office.counts(campaign_id) == {"sent": 6, "pending": CONNECTIONS}, "it was certainly not sent"
    await office.send_all()
    assert await office.counts(campaign_id) == await office.told(campaign_id) == {"sent": 10}
    assert max(received(smtp_server).values()) == 1


@pytest.mark.parametrize("resolution", [Resolution.RESEND, Resolution.FAILED])
async def test_a_late_answer_that_it_was_taken_counts_more_than_what_a_person_made_of_the_doubt(
    office: Office, smtp_server: Any, resolution: Resolution
) -> None:
    audience = members(10)
    campaign_id = await office.plan(audience, port=smtp_server.port)
    slow, gate = office.worker()
    gate.after.clear()
    sending = asyncio.create_task(slow.send_batch())
    await eventually(lambda: len(smtp_server.messages) == CONNECTIONS)
    await office.expire_leases()
    await office.send_all()
    for member in audience[:CONNECTIONS]:
        await office.container.resolving.resolve(office.organisation_id, campaign_id, member.contact_id, resolution)
    gate.after.set()
    await sending
    assert await office.counts(campaign_id) == {"sent": 10}
    await office.container.reconciling.reconcile()
    await office.send_all()
    assert await office.counts(campaign_id) == await office.told(campaign_id) == {"sent": 10}
    assert max(received(smtp_server).values()) == 1


async def test_a_late_refusal_for_now_gives_the_delivery_another_attempt(office: Office, smtp_server: Any) -> None:
    campaign_id = await office.plan(members(10), port=smtp_server.port)
    frozen, gate = office.worker()
    gate.before.clear()
    gate.answer_instead = replied(Stage.RCPT, 451, "4.2.1 try later")
    sending = asyncio.create_task(frozen.send_batch())
    await eventually(lambda: gate.waiting == CONNECTIONS)
    await office.expire_leases()
    await office.send_all()
    assert await office.counts(campaign_id) == {"sent": 6, "ambiguous": CONNECTIONS}
    gate.before.set()
    await sending
    await office.send_all()
    assert await office.counts(campaign_id) == await office.told(campaign_id) == {"sent": 10}
    assert max(received(smtp_server).values()) == 1


async def test_a_stale_holder_cannot_open_renew_or_finish(office: Office, smtp_server: Any) -> None:
    campaign_id = await office.plan(members(10), port=smtp_server.port)
    stale, gate = office.worker()
    gate.before.clear()
    sending = asyncio.create_task(stale.send_batch())
    await eventually(lambda: gate.waiting == CONNECTIONS)
    await office.execute("UPDATE batches SET lease_epoch = lease_epoch + 1, owner = 'another'")
    await stale.renew_leases()
    gate.before.set()
    await sending
    (batch,) = await office.rows(batches, campaign_id)
    assert (batch.state, batch.owner, batch.lease_epoch) == ("leased", "another", 2)
    assert smtp_server.messages == [], "what it had opened is not handed over either"


async def test_an_answer_that_never_comes_after_the_content_is_doubt_and_is_not_sent_again(
    office: Office, smtp_server: Any
) -> None:
    campaign_id = await office.plan(members(5), port=smtp_server.port)
    worker, gate = office.worker()
    gate.answer_instead = unanswered(Stage.CONTENT, "Connection reset")
    await worker.send_all_due()
    gate.answer_instead = None
    await office.container.reconciling.reconcile()
    await worker.send_all_due()
    assert await office.counts(campaign_id) == {"ambiguous": 5}
    assert smtp_server.messages == []


async def test_with_the_policy_resend_deliveries_in_doubt_are_sent_again_with_the_same_identity(
    office: Office, smtp_server: Any
) -> None:
    campaign_id = await office.plan(members(2), port=smtp_server.port)
    await office.execute("UPDATE sends SET on_ambiguous = 'resend'")
    worker, gate = office.worker()
    gate.after.clear()
    sending = asyncio.create_task(worker.send_batch())
    await eventually(lambda: len(smtp_server.messages) == 2)
    await worker.abort()
    await asyncio.gather(sending, return_exceptions=True)
    await office.expire_leases()
    await office.send_all()
    await office.container.reconciling.reconcile()
    assert await office.counts(campaign_id) == {"ambiguous": 2}, "not before the attempt is old enough"
    await office.execute("UPDATE deliveries SET opened_at = opened_at - interval '1 hour'")
    await office.container.reconciling.reconcile()
    await office.send_all()
    assert await office.counts(campaign_id) == await office.told(campaign_id) == {"sent": 2}
    for address, count in received(smtp_server).items():
        first, second = (message.message for message in smtp_server.messages_to(address))
        assert count == 2
        assert (first["Message-ID"], first["Date"]) == (second["Message-ID"], second["Date"])


async def test_several_workers_share_a_send_and_mail_nobody_twice(office: Office, smtp_server: Any) -> None:
    campaign_id = await office.plan(members(100), port=smtp_server.port)
    workers = [office.worker(batches_per_worker=2) for _ in range(3)]
    await asyncio.gather(*(worker.send_all_due() for worker, _gate in workers))
    assert await office.counts(campaign_id) == await office.told(campaign_id) == {"sent": 100}
    assert max(received(smtp_server).values()) == 1
    assert len(received(smtp_server)) == 100
    assert all(gate.passed for _worker, gate in workers), "all have worked"
    assert max(gate.most_at_once for _worker, gate in workers) == CONNECTIONS
    assert len(await office.events(SendDrained)) == 1


async def test_a_worker_that_is_told_to_stop_finishes_what_is_open_and_returns_the_rest(
    office: Office, smtp_server: Any
) -> None:
    campaign_id = await office.plan(members(30), port=smtp_server.port)
    worker, gate = office.worker()
    gate.after.clear()
    stop = asyncio.Event()
    looking_after = asyncio.create_task(worker.look_after(stop))
    sending = asyncio.create_task(worker.send_batch())
    await eventually(lambda: len(smtp_server.messages) == CONNECTIONS)
    stop.set()
    await asyncio.sleep(0)
    gate.after.set()
    await asyncio.gather(sending, looking_after)
    assert await office.counts(campaign_id) == {"sent": CONNECTIONS, "pending": 26}
    assert await office.told(campaign_id) == {"sent": CONNECTIONS}
    assert {row.state for row in await office.rows(batches, campaign_id)} == {"ready"}
    await office.send_all()
    assert await office.counts(campaign_id) == {"sent": 30}


async def test_a_database_that_drops_all_connections_costs_no_message_and_no_doubt(
    office: Office, smtp_server: Any
) -> None:
    campaign_id = await office.plan(members(200), port=smtp_server.port)
    worker, gate = office.worker(lease_seconds=30.0)

    async def drop_connections() -> None:
        for passed in (10, 60, 120):
            await eventually(lambda enough=passed: gate.passed >= enough)
            await office.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()"
                " AND pid <> pg_backend_pid()"
            )

    dropping = asyncio.create_task(drop_connections())
    while not dropping.done():
        await asyncio.gather(worker.send_all_due(), return_exceptions=True)
        await office.expire_leases()  # of batches whose last write was refused
    await dropping
    await office.send_all()
    assert await office.counts(campaign_id) == {"sent": 200}
    assert max(received(smtp_server).values()) == 1
    assert len(received(smtp_server)) == 200


async def test_a_batch_that_takes_longer_than_its_lease_is_not_taken_over_while_its_worker_lives(
    office: Office, smtp_server: Any
) -> None:
    campaign_id = await office.plan(members(6), port=smtp_server.port)
    slow, gate = office.worker(lease_seconds=1.0)
    gate.after.clear()
    stop = asyncio.Event()
    looking_after = asyncio.create_task(slow.look_after(stop))
    sending = asyncio.create_task(slow.send_batch())
    await eventually(lambda: len(smtp_server.messages) == CONNECTIONS)
    (before,) = await office.rows(batches, campaign_id)

    async def renewed_often() -> bool:
        (now,) = await office.rows(batches, campaign_id)
        return (now.lease_until - before.lease_until).total_seconds() > 2

    await eventually(renewed_often)
    await office.send_all()
    gate.after.set()
    await sending
    stop.set()
    await looking_after
    assert await office.counts(campaign_id) == {"sent": 6}
    (after,) = await office.rows(batches, campaign_id)
    assert (after.state, after.lease_epoch) == ("done", 1)


@pytest.mark.parametrize("noticed", [True, False])
async def test_a_worker_that_takes_over_from_its_own_frozen_self_mails_nobody_twice(
    office: Office, smtp_server: Any, noticed: bool
) -> None:
    campaign_id = await office.plan(members(10), port=smtp_server.port)
    worker, gate = office.worker()
    gate.after.clear()
    first = asyncio.create_task(worker.send_batch())
    await eventually(lambda: len(smtp_server.messages) == CONNECTIONS)
    await office.expire_leases()
    second = asyncio.create_task(worker.send_batch())
    await eventually(lambda: office.told(campaign_id))
    if noticed:
        await worker.renew_leases()
    gate.after.set()
    await asyncio.gather(first, second)
    await office.container.reconciling.reconcile()
    await office.send_all()
    assert await office.counts(campaign_id) == await office.told(campaign_id) == {"sent": 10}
    assert max(received(smtp_server).values()) == 1
