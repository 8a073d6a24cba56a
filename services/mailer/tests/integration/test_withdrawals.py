"""Who leaves a list gets nothing more of campaigns that reached them by it: queued, on its way, or not planned yet."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest

from posthorn_common.clock import new_id
from posthorn_contracts.campaigns.v1 import ContactUnsubscribed, ContactUnsubscribedData
from posthorn_contracts.mailer.v1 import SendDrained
from posthorn_mailer.adapters.db.tables import deliveries, suppressed_contacts, withdrawn_recipients
from posthorn_mailer.domain.deliveries import Resolution

from .support import Office, eventually, members

pytestmark = pytest.mark.integration


def has_left(office: Office, contact_id: UUID, *campaign_ids: UUID, organisation_id: UUID | None = None) -> Any:
    data = ContactUnsubscribedData(
        contact_id=contact_id, list_ids=(new_id(),), method="page", withdrawn_from=campaign_ids
    )
    return ContactUnsubscribed.about(
        contact_id,
        id=new_id(),
        organisation_id=organisation_id or office.organisation_id,
        occurred_at=datetime.now(UTC),
        data=data,
    )


async def leave(office: Office, contact_id: UUID, *campaign_ids: UUID) -> None:
    await office.container.withdrawing.on_contact_unsubscribed(has_left(office, contact_id, *campaign_ids))


def mailed(smtp_server: Any) -> list[str]:
    return [message.envelope_to[0] for message in smtp_server.messages]


async def states(office: Office, campaign_id: UUID) -> list[tuple[str, str | None]]:
    return [(row.state, row.cause) for row in await office.rows(deliveries, campaign_id)]


async def test_queued_mail_is_not_sent_and_the_reason_is_told(office: Office, smtp_server: Any) -> None:
    audience = members(3)
    campaign_id = await office.plan(audience, port=smtp_server.port)
    event = has_left(office, audience[1].contact_id, campaign_id)
    for _ in range(2):  # delivered twice
        await office.container.withdrawing.on_contact_unsubscribed(event)
    await office.send_all()
    assert await states(office, campaign_id) == [("sent", None), ("suppressed", "unsubscribed"), ("sent", None)]
    assert set(mailed(smtp_server)) == {audience[0].email, audience[2].email}
    told = {record.contact_id: record for record in await office.records(campaign_id)}
    assert (told[audience[1].contact_id].outcome, told[audience[1].contact_id].cause) == ("suppressed", "unsubscribed")
    (drained,) = await office.events(SendDrained)
    assert (drained.data.audience, drained.data.sent, drained.data.suppressed) == (3, 2, 1)


async def test_other_campaigns_and_other_organisations_are_not_concerned(office: Office, smtp_server: Any) -> None:
    (reader,) = members(1)
    first = await office.plan([reader], port=smtp_server.port)
    second = office.add_campaign([reader])
    await office.start(second)
    await office.container.planning.plan_send(second)
    withdrawing = office.container.withdrawing
    await withdrawing.on_contact_unsubscribed(has_left(office, reader.contact_id, first, organisation_id=new_id()))
    await withdrawing.on_contact_unsubscribed(has_left(office, reader.contact_id))
    await leave(office, reader.contact_id, second)
    await office.send_all()
    assert await office.counts(first) == {"sent": 1}
    assert await office.counts(second) == {"suppressed": 1}


@pytest.mark.parametrize("stage", ["unplanned", "fetched"])
async def test_who_leaves_before_planning_has_reached_them_is_not_mailed(
    office: Office, smtp_server: Any, stage: str
) -> None:
    audience = members(60)
    await office.add_relay(smtp_server.port)
    campaign_id = office.add_campaign(audience)
    await office.start(campaign_id)
    # In the first page and in the last one. Campaigns has put both into their pages before they left.
    leaving = [audience[3].contact_id, audience[59].contact_id]
    if stage == "unplanned":
        for contact_id in leaving:
            await leave(office, contact_id, campaign_id)
        await office.container.planning.plan_send(campaign_id)
    else:
        office.campaigns.answering.clear()
        planning = asyncio.create_task(office.container.planning.plan_send(campaign_id))
        await eventually(lambda: "audience" in office.campaigns.calls)
        for contact_id in leaving:
            await leave(office, contact_id, campaign_id)
        office.campaigns.answering.set()
        await planning
    assert await office.rows(withdrawn_recipients, campaign_id) == [], "planned, nothing has to be remembered"
    await office.send_all()
    assert await office.counts(campaign_id) == {"sent": 58, "suppressed": 2}
    assert not {audience[3].email, audience[59].email} & set(mailed(smtp_server))


async def test_a_page_that_is_being_stored_and_a_withdrawal_wait_for_each_other(
    office: Office, smtp_server: Any
) -> None:
    """Whichever comes first: many at once, while pages are stored."""
    audience = members(200)
    await office.add_relay(smtp_server.port)
    campaign_id = office.add_campaign(audience)
    await office.start(campaign_id)
    leaving = audience[::4]
    await asyncio.gather(
        office.container.planning.plan_send(campaign_id),
        *(leave(office, reader.contact_id, campaign_id) for reader in leaving),
    )
    await office.send_all()
    assert await office.counts(campaign_id) == {"sent": 150, "suppressed": 50}


async def test_a_campaign_that_is_not_known_yet_is_none_of_our_business(office: Office) -> None:
    campaign_id = new_id()
    await leave(office, new_id(), campaign_id)
    assert await office.rows(withdrawn_recipients, campaign_id) == []
    async with office.container.engine.connect() as connection:
        assert (await connection.execute(suppressed_contacts.select())).all() == []


async def test_what_is_on_its_way_is_finished_and_not_tried_again(office: Office, smtp_server: Any) -> None:
    audience = members(2)
    smtp_server.reply_to(audience[0].email, "451 4.3.0 later", times=1)
    campaign_id = await office.plan(audience, port=smtp_server.port)
    worker, gate = office.worker()
    gate.before.clear()
    sending = asyncio.create_task(worker.send_all_due())
    await eventually(lambda: gate.waiting == 2)
    for reader in audience:
        await leave(office, reader.contact_id, campaign_id)
    gate.before.set()
    await sending

    async def over() -> bool:
        await worker.send_all_due()
        return bool(await office.events(SendDrained))

    await eventually(over)
    assert await states(office, campaign_id) == [("suppressed", "unsubscribed"), ("sent", None)]
    assert mailed(smtp_server) == [audience[1].email]


async def test_a_worker_that_opens_at_the_same_moment_has_either_opened_or_not(
    office: Office, smtp_server: Any
) -> None:
    audience = members(120)
    campaign_id = await office.plan(audience, port=smtp_server.port)
    worker, _gate = office.worker()
    await asyncio.gather(
        worker.send_all_due(), *(leave(office, reader.contact_id, campaign_id) for reader in audience[::2])
    )
    counts = await office.counts(campaign_id)
    assert counts == await office.told(campaign_id)
    assert counts["sent"] + counts.get("suppressed", 0) == 120
    assert counts["sent"] == len(smtp_server.messages) >= 60
    assert {reader.email for reader in audience[1::2]} <= set(mailed(smtp_server))


async def test_in_a_paused_campaign_it_holds_after_the_resume(office: Office, smtp_server: Any) -> None:
    audience = members(2)
    campaign_id = await office.plan(audience, port=smtp_server.port)
    await office.container.controlling.pause(office.order(campaign_id))
    await leave(office, audience[0].contact_id, campaign_id)
    await office.send_all()
    assert await office.counts(campaign_id) == {"pending": 2}
    await office.container.controlling.resume(office.order(campaign_id))
    await office.send_all()
    assert await office.counts(campaign_id) == {"sent": 1, "suppressed": 1}


async def test_what_failed_is_not_tried_again_for_who_has_left_since(office: Office, smtp_server: Any) -> None:
    audience = members(2)
    for reader in audience:
        smtp_server.reply_to(reader.email, "554 5.7.1 policy", times=1)
    campaign_id = await office.plan(audience, port=smtp_server.port)
    await office.send_all()
    assert await office.counts(campaign_id) == {"failed": 2}
    await leave(office, audience[0].contact_id, campaign_id)
    await office.container.controlling.retry_failed(office.order(campaign_id))
    await office.send_all()
    assert await states(office, campaign_id) == [("suppressed", "unsubscribed"), ("sent", None)]


async def test_what_is_in_doubt_is_not_sent_again_to_who_has_left_since(office: Office, smtp_server: Any) -> None:
    (reader,) = members(1)
    campaign_id = await office.plan([reader], port=smtp_server.port)
    worker, gate = office.worker()
    gate.before.clear()
    sending = asyncio.create_task(worker.send_all_due())
    await eventually(lambda: gate.waiting == 1)
    await worker.abort()
    await asyncio.gather(sending, return_exceptions=True)
    await office.expire_leases()
    await office.send_all()
    assert await office.counts(campaign_id) == {"ambiguous": 1}
    await leave(office, reader.contact_id, campaign_id)
    await office.container.resolving.resolve(office.organisation_id, campaign_id, reader.contact_id, Resolution.RESEND)
    await office.send_all()
    assert await states(office, campaign_id) == [("suppressed", "unsubscribed")]
    assert smtp_server.messages == []


async def test_a_cancelled_campaign_remembers_nobody(office: Office, smtp_server: Any) -> None:
    (reader,) = members(1)
    await office.add_relay(smtp_server.port)
    campaign_id = office.add_campaign([reader])
    await office.start(campaign_id)
    await leave(office, reader.contact_id, campaign_id)
    assert len(await office.rows(withdrawn_recipients, campaign_id)) == 1
    await office.container.controlling.cancel(office.order(campaign_id))
    assert await office.rows(withdrawn_recipients, campaign_id) == []
