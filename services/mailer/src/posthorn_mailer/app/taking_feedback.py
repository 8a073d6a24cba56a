"""Bounces and complaints become outcomes of deliveries and, where the address is dead or unwilling, suppressions.

Telling the same twice changes nothing the second time: each changes a state once, in one transaction with what follows
from it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from uuid import UUID

import structlog

from posthorn_common.clock import Clock
from posthorn_common.events import event
from posthorn_contracts.mailer.v1 import ContactSuppressed, ContactSuppressedData
from posthorn_mailer.app.guarding import GuardingSends
from posthorn_mailer.app.metrics import FEEDBACK
from posthorn_mailer.app.ports_records import FeedbackUnitOfWork, NewFeedback
from posthorn_mailer.app.ports_sends import Span
from posthorn_mailer.app.reporting import drain_if_done, report
from posthorn_mailer.domain.deliveries import Delivery, DeliveryState
from posthorn_mailer.domain.errors import DeliveryNotFound, SendNotFound
from posthorn_mailer.domain.feedback import Feedback, FeedbackType, bounce_verdict, delivery_ids, state_after
from posthorn_mailer.domain.suppressions import Suppression, SuppressionReason

log = structlog.get_logger(__name__)


class FeedbackResult(StrEnum):
    """What has come of it."""

    RECORDED = "recorded"
    """The delivery has changed its state."""
    NOTED = "noted"
    """The delivery stays in its state; what was told stands beside it."""
    UNCHANGED = "unchanged"
    """It was known, or something more certain is."""
    UNKNOWN = "unknown"
    """There is no such message in the organisation's campaigns."""
    TOO_EARLY = "too_early"
    """The message is just being sent: tell it again in a minute."""


@dataclass(frozen=True, slots=True)
class Taken:
    """What has come of one piece of feedback, and of which delivery."""

    result: FeedbackResult
    campaign_id: UUID | None = None
    contact_id: UUID | None = None


_UNKNOWN = Taken(FeedbackResult.UNKNOWN)
_NEVER_SENT = frozenset({DeliveryState.PENDING, DeliveryState.DEFERRED, DeliveryState.SUPPRESSED,
                         DeliveryState.CANCELLED})  # fmt: skip


class TakingFeedback:
    """The use cases of what comes back."""

    def __init__(self, *, new_unit_of_work: NewFeedback, guarding: GuardingSends, clock: Clock) -> None:
        self._new_unit_of_work = new_unit_of_work
        self._guarding = guarding
        self._clock = clock

    async def take(self, organisation_id: UUID, told: Sequence[Feedback]) -> list[Taken]:
        """Take feedback in; return what has come of each. What is about unknown messages is counted, no more."""
        taken = [await self._take(organisation_id, one) for one in told]
        for one, result in zip(told, taken, strict=True):
            FEEDBACK.labels(one.type, result.result).inc()
        recorded = [one.campaign_id for one in taken if one.result is FeedbackResult.RECORDED]
        for campaign_id in {one for one in recorded if one is not None}:
            # Whoever dies before this is made up for by the reconciler.
            await drain_if_done(self._new_unit_of_work, campaign_id, self._clock)
            await self._guarding.check(campaign_id)
        return taken

    async def _take(self, organisation_id: UUID, told: Feedback) -> Taken:
        ids = delivery_ids(told.message_id)
        if ids is None:
            return _UNKNOWN
        contact_id, campaign_id = ids
        try:
            result = await self._take_about(organisation_id, campaign_id, contact_id, told)
        except (SendNotFound, DeliveryNotFound):
            return _UNKNOWN
        return Taken(result, campaign_id, contact_id)

    async def _take_about(
        self, organisation_id: UUID, campaign_id: UUID, contact_id: UUID, told: Feedback
    ) -> FeedbackResult:
        async with self._new_unit_of_work() as uow:
            await uow.erasures.share(organisation_id, [contact_id])
            await uow.sends.get(organisation_id, campaign_id)
            # In the order in which everybody locks: the send, the batch, the delivery.
            await uow.sends.lock(campaign_id)
            send = await uow.sends.get(organisation_id, campaign_id)
            known = await uow.deliveries.get(organisation_id, campaign_id, contact_id)
            if send.closed:
                await self._suppress(uow, known, None, told)
                return FeedbackResult.UNCHANGED
            number = known.number
            await uow.batches.lock_holding(campaign_id, number)
            delivery = await uow.deliveries.lock(organisation_id, campaign_id, contact_id)
            if delivery.state is DeliveryState.SENDING:
                return FeedbackResult.TOO_EARLY
            state = state_after(delivery.state, told.type)
            await self._suppress(uow, delivery, state, told)
            if state is None:
                if told.type is not FeedbackType.SOFT_BOUNCE or delivery.state is not DeliveryState.SENT:
                    return FeedbackResult.UNCHANGED
                await self._note(uow, delivery, delivery.state, told)
                return FeedbackResult.NOTED
            await self._note(uow, delivery, state, told)
            await uow.batches.recount_holding(campaign_id, number)
            span = Span(send_id=campaign_id, organisation_id=organisation_id, first=number, last=number)
            await report(uow, span, self._clock)
            await uow.sends.reopen(campaign_id)
        log.info("feedback_recorded", send_id=str(campaign_id), type=told.type, state=state)
        return FeedbackResult.RECORDED

    async def _note(self, uow: FeedbackUnitOfWork, delivery: Delivery, state: DeliveryState, told: Feedback) -> None:
        is_bounce = told.type in {FeedbackType.HARD_BOUNCE, FeedbackType.SOFT_BOUNCE}
        await uow.deliveries.note_feedback(
            delivery, state, told, cause=bounce_verdict(told).cause if is_bounce else delivery.cause
        )

    async def _suppress(
        self, uow: FeedbackUnitOfWork, delivery: Delivery, state: DeliveryState | None, told: Feedback
    ) -> None:
        """Suppress an address that is dead, and one whose owner complains, whatever became of the message."""
        if told.type is FeedbackType.COMPLAINT and delivery.state not in _NEVER_SENT:
            reason = SuppressionReason.COMPLAINT
        elif state is DeliveryState.BOUNCED and bounce_verdict(told).suppress:
            reason = SuppressionReason.HARD_BOUNCE
        else:
            return
        if not delivery.email:  # of an erased contact nothing is left
            return
        suppression = Suppression(
            delivery.organisation_id, delivery.email, reason, delivery.contact_id, "feedback", self._clock.now()
        )
        is_new = await uow.suppressions.add([suppression])
        if is_new or state is not None:
            data = ContactSuppressedData(contact_id=delivery.contact_id, reason=reason.value)
            await uow.publish(
                event(ContactSuppressed, delivery.contact_id, delivery.organisation_id, data, self._clock)
            )
