"""Workers that are killed, stopped and frozen."""

from __future__ import annotations

import asyncio
import signal
from typing import Any

import pytest

from posthorn_local.supervisor import stop_all

from .fleet import LEASE_SECONDS, RESENDING
from .flights import CONNECTIONS


@pytest.mark.e2e
async def test_one_worker_is_killed(launch: Any, fleet: Any) -> None:
    flight = await launch("SIGKILL of one worker")
    await flight.under_way(0.3)
    await fleet.busy(fleet.workers[0])
    fleet.workers[0].kill()
    await flight.ends(in_doubt_at_most=CONNECTIONS)


async def test_all_workers_are_killed_and_new_ones_come(launch: Any, fleet: Any) -> None:
    flight = await launch("SIGKILL of all workers")
    await flight.under_way(0.3)
    for worker in fleet.workers:
        worker.kill()
    await fleet.start_workers()
    await flight.ends(in_doubt_at_most=CONNECTIONS)


async def test_what_is_in_doubt_is_sent_again_where_the_policy_says_so(launch: Any, fleet: Any) -> None:
    await fleet.restart_mailer(RESENDING)
    try:
        flight = await launch("SIGKILL of all workers, `resend`")
        await flight.under_way(0.3)
        for worker in fleet.workers:
            worker.kill()
        await fleet.start_workers()
        # Not over before what was in doubt has been sent again; until then the mailer says "with errors".
        await flight.until_status("completed")
        figures = await flight.ends(resent_at_most=CONNECTIONS)
    finally:
        await fleet.restart_mailer({})
    assert figures.accepted == figures.recipients


async def test_workers_are_killed_again_and_again(launch: Any, fleet: Any) -> None:
    kills = 6
    flight = await launch(f"SIGKILL of workers, {kills} times", lasting=30)
    replacing: asyncio.Task[None] | None = None
    for number in range(kills):
        await flight.under_way(0.08 * (number + 1))
        if replacing is not None and not fleet.alive():
            await replacing
        fleet.alive()[0].kill()
        if replacing is None or replacing.done():
            replacing = asyncio.create_task(fleet.start_workers())
    assert replacing is not None
    await replacing
    await flight.ends(in_doubt_at_most=kills * CONNECTIONS)


async def test_all_mailer_processes_are_restarted_in_an_orderly_way(launch: Any, fleet: Any) -> None:
    flight = await launch("SIGTERM of all mailer processes")
    await flight.under_way(0.3)
    killed = await asyncio.to_thread(stop_all, [fleet.service("mailer"), *fleet.workers])
    assert killed == [], "they end by themselves"
    await fleet.start_workers()
    await flight.ends(in_doubt_at_most=0)


async def test_a_worker_is_frozen_for_longer_than_its_lease(launch: Any, fleet: Any) -> None:
    flight = await launch("SIGSTOP of a worker, then SIGCONT")
    await flight.under_way(0.3)
    victim = fleet.workers[0]
    await fleet.busy(victim)
    fleet.signal(victim, signal.SIGSTOP)
    try:
        await asyncio.sleep(LEASE_SECONDS * 1.5)
    finally:
        fleet.signal(victim, signal.SIGCONT)
    await flight.ends(in_doubt_at_most=CONNECTIONS)
