"""Sends single messages, in workers of their own, so that they do not wait behind campaigns."""

from __future__ import annotations

import asyncio
from uuid import UUID

from posthorn_common.jobs import ReceivedJob
from posthorn_common.loops import run_every
from posthorn_mailer.bootstrap import Container

_CONCURRENCY = 10
_POLLED = 20


async def run_message_worker(container: Container, stop: asyncio.Event) -> None:
    """Send messages when the bell rings, and look for some every other second, until `stop` is set."""

    async def on_job(job: ReceivedJob) -> None:
        await container.sending_messages.send(UUID(job.data["message_id"]))

    async def look() -> None:
        while await container.sending_messages.send_overdue(_POLLED) == _POLLED and not stop.is_set():
            pass

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(container.message_jobs.consume(on_job, concurrency=_CONCURRENCY, stop=stop))
        tasks.create_task(run_every(container.settings.poll_seconds, look, stop=stop, name="messages_poll"))


async def run_message_reconciler(container: Container, stop: asyncio.Event) -> None:
    """Repair what dead workers and a lost Redis leave behind, until `stop` is set."""
    reconcile = container.sending_messages.reconcile
    await run_every(container.settings.reconcile_seconds, reconcile, stop=stop, name="messages_reconcile")
