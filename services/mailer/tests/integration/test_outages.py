"""A relay that is away is told, left alone for a while, and wears nobody down."""

from __future__ import annotations

from typing import Any

import pytest

from posthorn_contracts.mailer.v1 import SendDrained, SendImpeded, SendRecovered
from posthorn_mailer.adapters.db.tables import deliveries
from posthorn_mailer.domain.replies import Stage, replied

from .support import Office, eventually, members

pytestmark = pytest.mark.integration


async def test_an_outage_is_told_once_and_sending_goes_on_when_it_is_over(office: Office, smtp_server: Any) -> None:
    smtp_server.stop()
    await office.add_relay(smtp_server.port)
    campaign_id = office.add_campaign(members(25))
    async with office.working("worker", "scheduler"):
        await office.start(campaign_id)
        (impeded,) = await eventually(lambda: office.events(SendImpeded))
        assert impeded.data.reason == "The relay main cannot be reached."
        assert await office.phase(campaign_id) == "sending"
        smtp_server.start()
        await eventually(lambda: office.events(SendDrained))
    assert len(await office.events(SendImpeded)) == len(await office.events(SendRecovered)) == 1
    assert await office.counts(campaign_id) == await office.told(campaign_id) == {"sent": 25}
    assert {row.attempts for row in await office.rows(deliveries, campaign_id)} == {1}
    assert {record.outcome for record in await office.records(campaign_id)} == {"sent"}


async def test_a_relay_that_refuses_the_sign_in_is_told_and_nobody_is_worn_down(office: Office) -> None:
    campaign_id = await office.plan(members(8), port=1)
    worker, gate = office.worker()
    gate.answer_instead = replied(Stage.AUTH, 535, "5.7.8 wrong password")

    async def told() -> Any:
        await worker.send_all_due()
        return await office.events(SendImpeded)

    (impeded,) = await eventually(told)
    assert impeded.data.reason == "The relay main refuses to let us sign in."
    assert await office.counts(campaign_id) == {"pending": 8}
    assert {row.attempts for row in await office.rows(deliveries, campaign_id)} == {0}


async def test_one_message_that_makes_the_relay_stumble_does_not_hold_up_the_others(
    office: Office, smtp_server: Any
) -> None:
    smtp_server.reply_to("reader.0@example.com", "451 4.3.0 internal error", times=20)
    campaign_id = await office.plan(members(10), port=smtp_server.port)

    async def sent() -> bool:
        await office.send_all()
        return (await office.counts(campaign_id)).get("sent", 0) >= 9

    await eventually(sent)
    assert await office.events(SendImpeded) == []


async def test_a_relay_that_was_deleted_is_told(office: Office, new_container: Any) -> None:
    campaign_id = await office.plan(members(2), port=1)
    await office.execute("UPDATE relays SET deleted_at = now(), is_default = false")
    async with new_container() as container:  # knows nothing of the relay from before
        await container.sending.send_all_due()
    (impeded,) = await office.events(SendImpeded)
    assert "does not exist any more" in impeded.data.reason
    assert await office.counts(campaign_id) == {"pending": 2}
