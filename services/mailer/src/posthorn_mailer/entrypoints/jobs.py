"""What rings the workers' bell, and what they do then."""

from __future__ import annotations

import asyncio
from uuid import UUID

import structlog

from posthorn_common.errors import TransientError
from posthorn_common.jobs import BullJobQueue, ReceivedJob
from posthorn_common.loops import run_every
from posthorn_mailer.app.controlling import ControllingSends
from posthorn_mailer.app.doorbell import PLAN_SEND, SEND_BATCH, SWEEP_SEND
from posthorn_mailer.app.planning import PlanningSends
from posthorn_mailer.app.sending import SendingBatches

log = structlog.get_logger(__name__)


class UnknownJob(Exception):
    """A job that this version does not know; it is kept among the failed ones."""


class CampaignWorker:
    """Plans and sends campaigns: when the bell rings, and by looking when it does not."""

    def __init__(
        self,
        jobs: BullJobQueue,
        *,
        planning: PlanningSends,
        sending: SendingBatches,
        controlling: ControllingSends,
        concurrency: int,
        poll_seconds: float,
    ) -> None:
        self._jobs = jobs
        self._planning = planning
        self._sending = sending
        self._controlling = controlling
        self._concurrency = concurrency
        self._poll_seconds = poll_seconds

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop` is set; then finish what is open and give batches back."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._sending.look_after(stop))
            for look in (self._look_for_plans, self._look_for_batches):
                tasks.create_task(run_every(self._poll_seconds, look, stop=stop, name=look.__name__.strip("_")))
            await self._jobs.consume(self.handle, concurrency=self._concurrency, stop=stop)

    async def handle(self, job: ReceivedJob) -> None:
        """Do what a job asks for, as far as the database says that it is still to be done."""
        id_ = UUID(job.data["id"])
        match job.name:
            case name if name == PLAN_SEND:
                await self._planning.plan_send(id_)
            case name if name == SEND_BATCH:
                await self._sending.send_batch(id_)
            case name if name == SWEEP_SEND:
                await self._controlling.sweep(id_)
            case _:
                raise UnknownJob(job.name)

    async def _look_for_plans(self) -> None:
        # Always: while all places are taken by batches, no bell is heard.
        while await self._planning.plan_next():
            pass

    async def _look_for_batches(self) -> None:
        if await self._should_look():
            await self._sending.send_all_due()

    async def _should_look(self) -> bool:
        """Whether to look for work that no bell has announced: while Redis is away, and when there is nothing to do.

        A worker that dies takes the bells with it that it had heard and not yet followed, for half a minute.
        """
        try:
            await self._jobs.ping()
        except TransientError as error:
            log.warning("looking_for_work_without_redis", error=str(error))
            return True
        return self._sending.idle
