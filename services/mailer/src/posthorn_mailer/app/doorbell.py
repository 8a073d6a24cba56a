"""Rings for workers when there is something to do. Nothing depends on being heard: workers and reconciler look too."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from itertools import islice
from uuid import UUID

import structlog

from posthorn_common.errors import TransientError
from posthorn_common.jobs.ports import JobQueue
from posthorn_mailer.app.ports_sends import Batch

log = structlog.get_logger(__name__)

PLAN_SEND = "plan_send"
SEND_BATCH = "send_batch"
SWEEP_SEND = "sweep_send"

_RUNG_AT_A_TIME = 10


class Doorbell:
    """Announces jobs; when Redis is away it says so in the log and goes on."""

    def __init__(self, jobs: JobQueue) -> None:
        self._jobs = jobs

    async def plan(self, send_id: UUID) -> None:
        """Ring for a planner."""
        await self._ring(f"plan-{send_id}", PLAN_SEND, send_id)

    async def sweep(self, send_id: UUID) -> None:
        """Ring for somebody to cancel what is left of a send."""
        await self._ring(f"sweep-{send_id}", SWEEP_SEND, send_id)

    async def send(self, batch: Batch, *, delay_seconds: float = 0) -> bool:
        """Ring for a worker; return whether the bell works."""
        # A batch that comes back is another job: the one at work would swallow the ring. The first batches of all
        # sends come before the second ones, so that a large campaign does not hold up a small one.
        job_id = f"batch-{batch.id}-{batch.lease_epoch}"
        return await self._ring(job_id, SEND_BATCH, batch.id, delay_seconds, priority=min(batch.number + 1, 2**20))

    async def send_all(self, batches: Iterable[Batch]) -> None:
        """Ring for many batches, several at a time; stops after the first ring that fails."""
        left = iter(batches)
        while some := list(islice(left, _RUNG_AT_A_TIME)):
            if not all(await asyncio.gather(*map(self.send, some))):
                return

    async def _ring(
        self, job_id: str, name: str, id_: UUID, delay_seconds: float = 0, *, priority: int | None = None
    ) -> bool:
        try:
            await self._jobs.announce(
                job_id, name, {"id": str(id_)}, delay_seconds=max(delay_seconds, 0), priority=priority
            )
        except TransientError as error:
            log.warning("job_not_announced", job=name, error=str(error))
            return False
        return True
