"""What the campaigns service orders: start, pause, resume, cancel, retry what has failed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import datetime
from uuid import UUID

import structlog

from posthorn_common.clock import Clock
from posthorn_common.events import event
from posthorn_contracts.mailer.v1 import SendPlanned, SendPlannedData
from posthorn_mailer.app.doorbell import Doorbell
from posthorn_mailer.app.ports_sends import Batch, NewSendingUnitOfWork, SendingUnitOfWork
from posthorn_mailer.app.reporting import drain_if_done, report
from posthorn_mailer.domain.sends import Send, SendStatus, ordered_status

log = structlog.get_logger(__name__)

_SWEPT_AT_A_TIME = 100


@dataclass(frozen=True, slots=True)
class Order:
    """An order about a campaign. `id` is the event's: an order counts once."""

    id: UUID
    organisation_id: UUID
    campaign_id: UUID
    given_at: datetime


class ControllingSends:
    """The use cases of orders. Each is idempotent by the order's id."""

    def __init__(
        self,
        *,
        new_unit_of_work: NewSendingUnitOfWork,
        doorbell: Doorbell,
        on_ambiguous: str,
        clock: Clock,
    ) -> None:
        """`on_ambiguous` holds for campaigns that do not say what they want."""
        self._new_unit_of_work = new_unit_of_work
        self._doorbell = doorbell
        self._on_ambiguous = on_ambiguous
        self._clock = clock

    async def start(
        self,
        order: Order,
        *,
        name: str,
        relay_id: UUID | None,
        on_ambiguous: str | None = None,
        messages_per_second: float | None = None,
    ) -> None:
        """Take on a started campaign."""
        send = Send(
            id=order.campaign_id,
            organisation_id=order.organisation_id,
            status=SendStatus.SENDING,
            name=name,
            relay_id=relay_id,
            on_ambiguous=on_ambiguous or self._on_ambiguous,
            messages_per_second=messages_per_second,
            audience=0,
            started_at=self._clock.now(),
            planned_at=None,
            drained_at=None,
            impeded_since=None,
            impeded_reason=None,
            failure_reason=None,
        )
        async with self._new_unit_of_work() as uow:
            if await uow.first_time("start_send", order.id):
                await uow.sends.start(send)
                await self._end_if_cancelled(uow, send.id)
        await self._doorbell.plan(send.id)

    async def pause(self, order: Order) -> None:
        """Open nothing more."""
        await self._obey("pause_send", order, SendStatus.PAUSED)

    async def resume(self, order: Order) -> None:
        """Go on where it stopped."""
        await self._obey("resume_send", order, SendStatus.SENDING)
        await self._ring_all(order.campaign_id)

    async def cancel(self, order: Order) -> None:
        """Open nothing more, ever; what was not opened is cancelled afterwards, by `sweep`."""
        await self._obey("cancel_send", order, SendStatus.CANCELLED, and_then=self._end_if_cancelled)
        await self._doorbell.sweep(order.campaign_id)

    async def retry_failed(self, order: Order) -> None:
        """Try the failed deliveries again."""
        await self._obey("retry_send", order, SendStatus.SENDING, and_then=self._reopen)
        await self._ring_all(order.campaign_id)
        # Where nothing had failed, the campaign waits for being told so.
        await drain_if_done(self._new_unit_of_work, order.campaign_id, self._clock)

    async def sweep(self, send_id: UUID) -> None:
        """Cancel what a cancelled send has not opened, batch by batch. Batches at work are left to their worker."""
        while True:
            async with self._new_unit_of_work() as uow:
                locked = await uow.sends.lock(send_id)
                if locked is None or locked[0].status is not SendStatus.CANCELLED:
                    return
                free = await uow.batches.free_of(send_id, _SWEPT_AT_A_TIME)
            finished = [await self._sweep_batch(batch) for batch in free]
            if not any(finished):
                break
        await drain_if_done(self._new_unit_of_work, send_id, self._clock)

    async def _sweep_batch(self, batch: Batch) -> bool:
        async with self._new_unit_of_work() as uow:
            if not await uow.batches.lock_free(batch.id):
                return False
            # Nobody is at it, so what is still open was opened by a holder that died.
            await uow.deliveries.relabel(replace(batch, lease_epoch=batch.lease_epoch + 1))
            await uow.deliveries.cancel(batch)
            # In this order: what is erased or answered in between is told here, or is work for the next sweep.
            tally = await uow.deliveries.tally(batch)
            await report(uow, batch, self._clock)
            await uow.batches.close(batch.id, counts=tally.counts, done=tally.done, not_before_seconds=None)
            return tally.done

    async def _obey(
        self,
        consumer: str,
        order: Order,
        status: SendStatus,
        *,
        and_then: Callable[[SendingUnitOfWork, UUID], Awaitable[None]] | None = None,
    ) -> None:
        async with self._new_unit_of_work() as uow:
            if not await uow.first_time(consumer, order.id):
                return
            await uow.sends.remember(order.campaign_id, order.organisation_id)
            locked = await uow.sends.lock(order.campaign_id)
            if locked is None or locked[0].organisation_id != order.organisation_id:
                return
            send, last_ordered_at = locked
            obeyed = ordered_status(send.status, status, ordered_at=order.given_at, last_ordered_at=last_ordered_at)
            log.info("send_ordered", send_id=str(send.id), order=consumer, obeyed=obeyed is not None)
            if obeyed is not None:
                await uow.sends.order(send.id, obeyed, order.given_at)
            if and_then is not None:
                await and_then(uow, send.id)

    async def _end_if_cancelled(self, uow: SendingUnitOfWork, send_id: UUID) -> None:
        """Let the audience of a cancelled send be what was planned by then, and tell it."""
        locked = await uow.sends.lock(send_id)
        if locked is None or locked[0].status is not SendStatus.CANCELLED:
            return
        send = locked[0]
        if await uow.sends.end_plan(send_id):
            await uow.withdrawals.forget(send_id)
            data = SendPlannedData(campaign_id=send_id, audience=send.audience)
            await uow.publish(event(SendPlanned, send_id, send.organisation_id, data, self._clock))

    async def _reopen(self, uow: SendingUnitOfWork, send_id: UUID) -> None:
        locked = await uow.sends.lock(send_id)
        if locked is None or locked[0].status not in {SendStatus.SENDING, SendStatus.PAUSED}:
            return
        if locked[0].closed:
            # Campaigns knows how long failed deliveries can be retried. If it errs, it still has to be told the end.
            log.error("failed_deliveries_cannot_be_retried", send_id=str(send_id))
            await uow.sends.reopen(send_id)
            return
        retried = await uow.deliveries.retry_failed(send_id)
        await uow.batches.reopen_with_open_deliveries(send_id)
        await uow.sends.reopen(send_id)
        log.info("failed_deliveries_retried", send_id=str(send_id), count=retried)

    async def _ring_all(self, send_id: UUID) -> None:
        async with self._new_unit_of_work() as uow:
            due = await uow.batches.due_of(send_id)
        await self._doorbell.send_all(due)
