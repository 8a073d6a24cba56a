"""Planning by itself: `measure` runs `python -m benchmarks.send.planning CAMPAIGN ORGANISATION` without any worker."""

from __future__ import annotations

import asyncio
import os
import resource
import sys
import time
from datetime import UTC, datetime
from uuid import UUID

import orjson
import uvloop

from benchmarks.harness.cpu import CpuMeter
from benchmarks.send.stage import Stage
from posthorn_common.clock import new_id
from posthorn_common.logging import configure_logging
from posthorn_common.settings import load_settings
from posthorn_local.paths import REPOSITORY
from posthorn_mailer.app.controlling import Order
from posthorn_mailer.bootstrap import bootstrap
from posthorn_mailer.settings import Settings


async def measure(stage: Stage, recipients: int) -> dict[str, float]:
    """Plan a campaign in a process of its own; return recipients per second and CPU per recipient."""
    await stage.clear()
    campaign_id = new_id()
    stage.campaigns.add(campaign_id, recipients)
    meter = CpuMeter(stage.servers.pids)
    meter.start()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "benchmarks.send.planning", str(campaign_id), str(stage.organisation_id),
        cwd=REPOSITORY, env={**os.environ, **stage.environment}, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    output, _ = await process.communicate()
    if process.returncode != 0:
        raise RuntimeError(f"planning ended with status {process.returncode}")
    result = orjson.loads(output.splitlines()[-1])
    planned = await stage.database.fetchval("SELECT count(*) FROM deliveries WHERE send_id = $1", campaign_id)
    if planned != recipients:
        raise RuntimeError(f"{planned} of {recipients} were planned")
    used = {"mailer": result["cpu_seconds"], **meter.read()}
    micro = {f"{name}_us": seconds / recipients * 1e6 for name, seconds in used.items()}
    await stage.clear()
    return {"recipients_per_second": recipients / result["seconds"], **micro, "cpu_us": sum(micro.values())}


async def _plan(campaign_id: UUID, organisation_id: UUID) -> None:
    settings = load_settings(Settings)
    configure_logging(service="mailer", level=settings.log_level)
    async with bootstrap(settings) as container:
        order = Order(new_id(), organisation_id, campaign_id, datetime.now(UTC))
        await container.controlling.start(order, name="Autumn letter", relay_id=None)
        cpu, started = _used(), time.perf_counter()
        await container.planning.plan_send(campaign_id)
        figures = {"seconds": time.perf_counter() - started, "cpu_seconds": _used() - cpu}
        sys.stdout.write(orjson.dumps(figures).decode() + "\n")


def _used() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    uvloop.run(_plan(UUID(sys.argv[1]), UUID(sys.argv[2])))
