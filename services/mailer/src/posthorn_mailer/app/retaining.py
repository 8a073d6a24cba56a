"""Retention: closed sends shrink to their final state, and months of them are dropped by policy."""

from __future__ import annotations

from dataclasses import dataclass

import structlog

from posthorn_mailer.app.ports_retention import Retention

log = structlog.get_logger(__name__)

_ROWS_PER_STEP = 5000
_STEPS_PER_RUN = 200
_DAY_SECONDS = 86_400.0


@dataclass(frozen=True, slots=True)
class RetentionPolicy:
    """Days after which sends are closed, and days for which their deliveries are kept then; None keeps them."""

    close_after_days: float
    keep_days: float | None


class RetainingDeliveries:
    """What the scheduler repeats. One process at a time is enough; more do no harm."""

    def __init__(self, retention: Retention, policy: RetentionPolicy) -> None:
        self._retention = retention
        self._policy = policy

    async def retain(self) -> None:
        """Do what is due, up to a million deliveries; the next run goes on."""
        for _ in range(_STEPS_PER_RUN):
            closed = await self._retention.close_next(self._policy.close_after_days * _DAY_SECONDS)
            if closed is None:
                break
            log.info("send_closed", send_id=str(closed))
        for _ in range(_STEPS_PER_RUN):
            if await self._retention.move_next(_ROWS_PER_STEP) is None:
                break
        if self._policy.keep_days is not None:
            await self._expire(self._policy.keep_days * _DAY_SECONDS)

    async def _expire(self, keep_seconds: float) -> None:
        for _ in range(_STEPS_PER_RUN):
            expired = await self._retention.expire_next(keep_seconds)
            if expired is None:
                break
            log.info("deliveries_expired", send_id=str(expired))
        for month in await self._retention.drop_months(keep_seconds):
            log.info("deliveries_dropped", month=month.isoformat())
