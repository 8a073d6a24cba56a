"""The whole path: from the event that a campaign has started to the last outcome heard by the other services."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from benchmarks.harness.cpu import CpuMeter, peak_memory_mb
from benchmarks.harness.services import ServiceProcess, service_process
from benchmarks.send.stage import Stage
from posthorn_common.clock import SystemClock, new_id
from posthorn_common.events import event
from posthorn_common.messaging import connect
from posthorn_contracts.campaigns.v1 import CampaignStarted, CampaignStartedData

COUNTED = ("mailer", "postgres", "valkey", "rabbitmq")
"""Whose CPU time is the mailer's price."""

_WARM_UP = 1000
_PAUSE_SECONDS = 0.1


class WentWrong(Exception):
    """A campaign did not end as it must; then its figures mean nothing."""


@dataclass(frozen=True)
class Launch:
    """A campaign that was started, and when."""

    campaign_id: UUID
    recipients: int
    at: float


@contextlib.asynccontextmanager
async def workers(stage: Stage, count: int, *, profile: Path | None = None) -> AsyncGenerator[list[ServiceProcess]]:
    """Run processes of the mailer, each with all roles; with `profile` they run under the profiler and write there."""
    program = None
    if profile is not None:
        program = (sys.executable, "-m", "benchmarks.send.profiled_mailer", str(profile))
    async with contextlib.AsyncExitStack() as stack:
        entering = [
            service_process(
                "mailer", stage.environment, log_file=stage.log_folder / f"mailer-{number}.log", program=program
            )
            for number in range(count)
        ]
        yield [await stack.enter_async_context(one) for one in entering]


async def whole_path(stage: Stage, processes: Sequence[ServiceProcess], recipients: int) -> dict[str, float]:
    """Send a campaign, after a small one that warms up; return its figures."""
    await stage.clear()
    await _finish(stage, processes, await launch(stage, _WARM_UP))
    await stage.clear()
    meter = CpuMeter({"mailer": [process.pid for process in processes], "sink": [stage.sink_pid], **stage.servers.pids})
    commits = await stage.commits()
    meter.start()
    launched = await launch(stage, recipients)
    await _finish(stage, processes, launched)
    used = meter.read()
    commits = await stage.commits() - commits
    figures = await _figures(stage, processes, launched, used)
    return {**figures, "commits_per_message": commits / recipients}


async def launch(stage: Stage, recipients: int) -> Launch:
    """Start a campaign as the campaigns service does."""
    campaign_id = new_id()
    stage.campaigns.add(campaign_id, recipients)
    data = CampaignStartedData(campaign_id=campaign_id, name="Autumn letter", template_version_id=new_id())
    started = event(CampaignStarted, campaign_id, stage.organisation_id, data, SystemClock())
    async with connect(stage.servers.rabbitmq.url, service="campaigns") as bus:
        await bus.ping()
        at = time.time()
        await bus.publish(started.type, started.model_dump_json().encode(), event_id=started.id)
    return Launch(campaign_id, recipients, at)


async def _finish(stage: Stage, processes: Sequence[ServiceProcess], launched: Launch) -> None:
    """Wait until the campaign is over and everybody has been told."""
    query = "SELECT drained_at IS NOT NULL FROM sends WHERE id = $1"
    while not (
        stage.outcomes.complete(launched.campaign_id, launched.recipients)
        and await stage.database.fetchval(query, launched.campaign_id)
    ):
        for process in processes:
            process.check()
        await asyncio.sleep(_PAUSE_SECONDS)
    sent = await stage.database.fetchval(
        "SELECT count(*) FROM deliveries WHERE send_id = $1 AND state = 'sent'", launched.campaign_id
    )
    if sent != launched.recipients:
        raise WentWrong(f"{sent} of {launched.recipients} were sent")


async def _figures(
    stage: Stage, processes: Sequence[ServiceProcess], launched: Launch, cpu_seconds: dict[str, float]
) -> dict[str, float]:
    row = await stage.database.fetchrow(
        """
        SELECT extract(epoch FROM s.planned_at)::float8 AS planned, extract(epoch FROM s.drained_at)::float8 AS drained,
               (SELECT extract(epoch FROM min(finished_at))::float8 FROM deliveries WHERE send_id = s.id) AS first
        FROM sends s WHERE id = $1
        """,
        launched.campaign_id,
    )
    if row is None:
        raise WentWrong("the campaign is gone")
    micro = {name: seconds / launched.recipients * 1e6 for name, seconds in cpu_seconds.items()}
    return {
        "messages_per_second": launched.recipients / (row["drained"] - launched.at),
        **{f"{name}_us": value for name, value in micro.items()},
        "cpu_us": sum(micro[name] for name in COUNTED),
        "rss_mb": max(peak_memory_mb(process.pid) for process in processes),
        "first_message_s": row["first"] - launched.at,
        "planned_after_s": row["planned"] - launched.at,
    }
