"""Jobs of the campaigns service: importing and exporting contacts."""

from __future__ import annotations

import asyncio
from uuid import UUID

from posthorn_campaigns.bootstrap import Container
from posthorn_common.jobs import ReceivedJob


async def run_import_jobs(container: Container, stop: asyncio.Event) -> None:
    """Work on imports until `stop` is set; those at work are then given back after their current chunk."""

    async def on_import(job: ReceivedJob) -> None:
        await container.importing.work_on(UUID(job.data["import_id"]), stop=stop)

    await container.import_jobs.consume(on_import, concurrency=container.settings.import_concurrency, stop=stop)


async def run_export_jobs(container: Container, stop: asyncio.Event) -> None:
    """Write exports, one at a time, until `stop` is set; the one at work is then given back after its current step."""

    async def on_export(job: ReceivedJob) -> None:
        await container.exporting.work_on(UUID(job.data["export_id"]), stop=stop)

    await container.export_jobs.consume(on_export, concurrency=1, stop=stop)
