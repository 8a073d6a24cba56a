"""A campaign on its way from the start to the last recipient."""

from __future__ import annotations

from typing import Any

import pytest

from posthorn_contracts.mailer.v1 import SendDrained, SendPlanned
from posthorn_mailer.adapters.db.tables import batches, deliveries

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
