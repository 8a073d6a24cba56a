"""Other processes than workers are killed."""

from __future__ import annotations

import asyncio
import random
from typing import Any

from posthorn_local.testing import product


async def test_campaigns_is_killed_while_the_audience_is_planned(launch: Any, fleet: Any) -> None:
    flight = await launch("SIGKILL of campaigns while planning")
    await _being_planned(flight)
    fleet.service("campaigns").kill()
    send = await flight.api.get(f"{flight.path}/send")
    assert send["planned_at"] is None, "the fault came too late"
    await asyncio.sleep(2)
    await fleet.start_service("campaigns")
    await flight.ends()


async def _being_planned(flight: Any) -> None:
    async def planned() -> int:
        send = await flight.read(f"{flight.path}/send")
        return 0 if send is None else int(send["audience"])

    await product.eventually(planned, pause=0.005)


async def test_the_relay_role_is_killed_between_publishing_and_marking(launch: Any, fleet: Any) -> None:
    kills, draw = 6, random.Random(1)
    flight = await launch(f"SIGKILL of the relay role, {kills} times", lasting=20)
    await flight.under_way(0.1)
    process = fleet.service("mailer")
    for _ in range(kills):
        process.kill()
        # Outcomes have piled up by the time it starts, so that it publishes at once.
        await asyncio.sleep(0.3)
        await fleet.start_service("mailer")
        await asyncio.sleep(draw.uniform(0, 0.3))
    await flight.ends()


async def test_analytics_is_killed(launch: Any, fleet: Any) -> None:
    flight = await launch("SIGKILL of analytics", lasting=5)
    await flight.under_way(0.3)
    fleet.service("analytics").kill()
    await flight.under_way(0.6)
    await fleet.start_service("analytics")
    await flight.ends()
