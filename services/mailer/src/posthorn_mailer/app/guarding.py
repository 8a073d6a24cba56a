"""Watches what campaigns come to, and pauses those that pass a limit. PostgreSQL's counts decide."""

from __future__ import annotations

from uuid import UUID

import structlog

from posthorn_common.auditing import by_system, recorded
from posthorn_common.clock import Clock
from posthorn_common.events import event
from posthorn_contracts.mailer.v1 import SendGuarded, SendGuardedData
from posthorn_mailer.app.ports_sends import NewSendingUnitOfWork
from posthorn_mailer.domain.guards import Limits, alarm
from posthorn_mailer.domain.sends import SendStatus

log = structlog.get_logger(__name__)


class GuardingSends:
    """The use case of the guards."""

    def __init__(self, *, new_unit_of_work: NewSendingUnitOfWork, limits: Limits, clock: Clock) -> None:
        self._new_unit_of_work = new_unit_of_work
        self._limits = limits
        self._clock = clock

    async def check_all(self) -> None:
        """Look at every campaign that is being sent."""
        async with self._new_unit_of_work() as uow:
            running = await uow.sends.running()
        for send_id in running:
            await self.check(send_id)

    async def check(self, send_id: UUID) -> bool:
        """Pause a campaign that passes a limit, at once, and tell it; return whether it was paused."""
        async with self._new_unit_of_work() as uow:
            # Counted first, without a lock: campaigns in order are never held up.
            counts = await uow.deliveries.counts(send_id)
            if alarm(counts, self._limits, armed_at=0) is None:
                return False
            locked = await uow.sends.lock(send_id)
            if locked is None or locked[0].status is not SendStatus.SENDING or locked[0].drained_at is not None:
                return False
            send = locked[0]
            if send.planned_at is not None and not await uow.batches.open_count(send_id):
                return False  # nothing is left to be stopped
            raised = alarm(counts, self._limits, armed_at=send.guard_armed_at)
            if raised is None:
                return False
            await uow.sends.guard(send_id, raised.words, raised.rearmed_at)
            data = SendGuardedData(campaign_id=send_id, code=raised.code, reason=raised.words)
            await uow.publish(event(SendGuarded, send_id, send.organisation_id, data, self._clock))
            guarded = by_system("mailer", "pause_campaign", send.organisation_id, "campaign", send_id)
            await uow.publish(recorded(guarded))
        log.warning("send_guarded", send_id=str(send_id), code=raised.code)
        return True
