"""Pause, resume and cancel, while processes die."""

from __future__ import annotations

import asyncio
from typing import Any

from .flights import CONNECTIONS

_CANCELLED = frozenset({"cancelled"})


async def test_paused_then_killed_then_resumed(launch: Any, fleet: Any) -> None:
    flight = await launch("pause, SIGKILL of all workers, resume")
    await flight.under_way(0.3)
    assert (await flight.order("pause"))["status"] == "paused"
    for worker in fleet.workers:
        worker.kill()
    await fleet.start_workers()
    before = await flight.still()
    await asyncio.sleep(2)
    assert flight.accepted() == before < len(flight.addresses), "a pause survives everybody"
    await flight.order("resume")
    await flight.ends(in_doubt_at_most=CONNECTIONS)


async def test_cancelled_in_mid_flight(launch: Any) -> None:
    flight = await launch("cancel in mid-flight")
    await flight.under_way(0.3)
    assert (await flight.order("cancel"))["status"] == "cancelled"
    figures = await flight.ends(status=_CANCELLED)
    assert figures.accepted < figures.recipients


async def test_cancelled_and_killed(launch: Any, fleet: Any) -> None:
    flight = await launch("cancel, SIGKILL of all workers")
    await flight.under_way(0.3)
    await flight.order("cancel")
    for worker in fleet.workers:
        worker.kill()
    await fleet.start_workers()
    figures = await flight.ends(status=_CANCELLED, in_doubt_at_most=CONNECTIONS)
    assert figures.accepted < figures.recipients
