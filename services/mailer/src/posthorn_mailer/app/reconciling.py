"""Finds work that nobody is at: after a crash, a lost job, an emptied Redis, or a late answer."""

from __future__ import annotations

import structlog

from posthorn_common.clock import Clock
from posthorn_mailer.app.controlling import ControllingSends
from posthorn_mailer.app.doorbell import Doorbell
from posthorn_mailer.app.guarding import GuardingSends
from posthorn_mailer.app.ports_sends import NewSendingUnitOfWork
from posthorn_mailer.app.reporting import drain_if_done, report
from posthorn_mailer.domain.deliveries import DeliveryState

log = structlog.get_logger(__name__)

_AT_A_TIME = 500


class ReconcilingSends:
    """What the scheduler repeats. Every step is safe to run at the same time elsewhere."""

    def __init__(
        self,
        *,
        new_unit_of_work: NewSendingUnitOfWork,
        doorbell: Doorbell,
        controlling: ControllingSends,
        guarding: GuardingSends,
        resend_after_seconds: float,
        clock: Clock,
    ) -> None:
        self._new_unit_of_work = new_unit_of_work
        self._doorbell = doorbell
        self._controlling = controlling
        self._guarding = guarding
        self._resend_after_seconds = resend_after_seconds
        self._clock = clock

    async def reconcile(self) -> None:
        """Ring for everything that is due, and finish what only needs finishing."""
        await self._guarding.check_all()
        await self._ring()
        await self._sweep_cancelled()
        await self._resend_ambiguous()
        await self._report_late_changes()
        await self._drain()

    async def _ring(self) -> None:
        async with self._new_unit_of_work() as uow:
            to_plan = await uow.sends.to_plan(_AT_A_TIME)
            due = await uow.batches.due(_AT_A_TIME)
        for send_id in to_plan:
            await self._doorbell.plan(send_id)
        await self._doorbell.send_all(due)

    async def _sweep_cancelled(self) -> None:
        async with self._new_unit_of_work() as uow:
            cancelled = await uow.sends.to_sweep(_AT_A_TIME)
        for send_id in cancelled:
            await self._controlling.sweep(send_id)

    async def _resend_ambiguous(self) -> None:
        async with self._new_unit_of_work() as uow:
            sends = await uow.sends.to_resend(_AT_A_TIME)
        for send in sends:
            async with self._new_unit_of_work() as uow:
                await uow.sends.lock(send.id)
                count = 0
                for batch in await uow.batches.with_state(send.id, DeliveryState.AMBIGUOUS):
                    await uow.batches.lock_holding(send.id, batch.first)
                    if again := await uow.deliveries.resend_ambiguous(batch, self._resend_after_seconds):
                        await uow.batches.reopen_holding(send.id, batch.first)
                        count += again
                if count:
                    await uow.sends.reopen(send.id)
            if count:
                log.info("ambiguous_deliveries_sent_again", send_id=str(send.id), count=count)

    async def _report_late_changes(self) -> None:
        async with self._new_unit_of_work() as uow:
            changed = await uow.batches.unreported(_AT_A_TIME)
        for batch in changed:
            async with self._new_unit_of_work() as uow:
                await uow.sends.lock(batch.send_id)
                await uow.batches.mark_reported(batch.id)
                await report(uow, batch, self._clock)
                # The counts that were told are no longer right, whoever has told of the changes.
                await uow.sends.reopen(batch.send_id)

    async def _drain(self) -> None:
        async with self._new_unit_of_work() as uow:
            over = await uow.sends.to_drain(_AT_A_TIME)
        for send_id in over:
            await drain_if_done(self._new_unit_of_work, send_id, self._clock)
