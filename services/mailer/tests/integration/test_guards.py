"""Campaigns that bounce or annoy too much pause by themselves, once, whatever else is ordered."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest
import pytest_asyncio

from posthorn_contracts.audit.v1 import ActionRecorded, ActorKind
from posthorn_contracts.mailer.v1 import SendGuarded
from posthorn_mailer.adapters.db.tables import deliveries
from posthorn_mailer.domain.feedback import Feedback, FeedbackType

from .support import Office, members

pytestmark = pytest.mark.integration


@pytest_asyncio.fixture
async def strict(office: Office, new_container: Any) -> AsyncGenerator[Office]:
    """An office whose guards look from ten finished deliveries on."""
    limits = {"guard_hard_bounces_after": 10, "guard_complaints_after": 10, "guard_complaint_rate": 0.05}
    async with new_container(**limits) as container:
        yield replace(office, container=container)


async def _send_one_batch(office: Office) -> None:
    assert await office.container.sending.send_batch()


async def _plan_bouncing(office: Office, smtp_server: Any, count: int) -> UUID:
    """Return a campaign in whose batches of ten two addresses each do not exist."""
    for number in range(count):
        if number % 10 < 2:
            smtp_server.reply_to(f"reader.{number}@example.com", "550 5.1.1 no such user")
    return await office.plan(members(count), port=smtp_server.port)


async def test_too_many_bounces_pause_a_campaign_once_and_a_person_may_overrule_it(
    strict: Office, smtp_server: Any
) -> None:
    campaign_id = await _plan_bouncing(strict, smtp_server, 40)
    await _send_one_batch(strict)
    reconciling = strict.container.reconciling
    await asyncio.gather(reconciling.reconcile(), reconciling.reconcile())
    await strict.send_all()
    assert await strict.phase(campaign_id) == "paused"
    assert await strict.counts(campaign_id) == {"sent": 8, "bounced": 2, "pending": 30}
    (told,) = await strict.events(SendGuarded)
    assert told.data.code == "hard_bounce_rate"
    (audited,) = await strict.events(ActionRecorded)
    assert (audited.data.action, audited.data.actor_kind) == ("pause_campaign", ActorKind.SYSTEM)
    assert audited.data.resource_id == campaign_id
    assert told.data.reason == "2 of 10 messages have bounced, more than 10 %."
    view = await strict.container.resolving.get_send(strict.organisation_id, campaign_id)
    assert view.send.notice == told.data.reason

    await strict.container.controlling.resume(strict.order(campaign_id))
    await reconciling.reconcile()
    assert await strict.phase(campaign_id) == "sending", "not again before twice as many have finished"
    await _send_one_batch(strict)
    await reconciling.reconcile()
    assert await strict.phase(campaign_id) == "paused"
    assert len(await strict.events(SendGuarded)) == 2


async def test_complaints_pause_a_campaign_when_they_come_in(strict: Office, smtp_server: Any) -> None:
    campaign_id = await strict.plan(members(20), port=smtp_server.port)
    await _send_one_batch(strict)
    sent = [row for row in await strict.rows(deliveries, campaign_id) if row.state == "sent"]
    message_id = f"<{sent[0].contact_id.hex}.{campaign_id.hex}@posthorn.example>"
    complaint = Feedback(message_id, FeedbackType.COMPLAINT)
    await strict.container.taking_feedback.take(strict.organisation_id, [complaint, complaint])
    assert await strict.phase(campaign_id) == "paused"
    (told,) = await strict.events(SendGuarded)
    assert (told.data.code, told.data.campaign_id) == ("complaint_rate", campaign_id)


@pytest.mark.parametrize("order", ["cancel", "pause"])
async def test_a_campaign_that_is_cancelled_or_paused_already_is_not_guarded(
    strict: Office, smtp_server: Any, order: str
) -> None:
    campaign_id = await _plan_bouncing(strict, smtp_server, 20)
    await _send_one_batch(strict)
    await getattr(strict.container.controlling, order)(strict.order(campaign_id))
    await strict.container.reconciling.reconcile()
    assert await strict.phase(campaign_id) == {"cancel": "cancelled", "pause": "paused"}[order]
    assert await strict.events(SendGuarded) == []


async def test_complaints_about_a_campaign_that_is_over_pause_nothing(strict: Office, smtp_server: Any) -> None:
    campaign_id = await strict.plan(members(10), port=smtp_server.port)
    await strict.send_all()
    (row, *_others) = await strict.rows(deliveries, campaign_id)
    complaint = Feedback(f"<{row.contact_id.hex}.{campaign_id.hex}@posthorn.example>", FeedbackType.COMPLAINT)
    await strict.container.taking_feedback.take(strict.organisation_id, [complaint])
    await strict.container.reconciling.reconcile()
    assert await strict.phase(campaign_id) == "drained"
    assert await strict.counts(campaign_id) == {"sent": 9, "complained": 1}
    assert await strict.events(SendGuarded) == []


async def test_of_a_guard_and_a_cancellation_at_once_the_cancellation_wins(strict: Office, smtp_server: Any) -> None:
    campaign_id = await _plan_bouncing(strict, smtp_server, 20)
    await _send_one_batch(strict)
    await asyncio.gather(
        strict.container.reconciling.reconcile(),
        strict.container.controlling.cancel(strict.order(campaign_id)),
        strict.container.reconciling.reconcile(),
    )
    assert await strict.phase(campaign_id) == "cancelled"
    assert len(await strict.events(SendGuarded)) <= 1
