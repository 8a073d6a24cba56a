"""Periodic loops go on after errors and end when they should."""

from __future__ import annotations

import asyncio

from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from posthorn_common.loops import run_every, stops_within


async def test_a_loop_runs_at_once_and_again_until_it_is_stopped():
    stop, runs = asyncio.Event(), []

    async def action():
        runs.append(1)
        if len(runs) == 3:
            stop.set()

    await run_every(0.001, action, stop=stop, name="three-times")
    assert len(runs) == 3


async def test_a_loop_goes_on_after_an_error_and_says_so():
    stop, runs = asyncio.Event(), []

    async def action():
        runs.append(1)
        if len(runs) == 2:
            stop.set()
        else:
            raise ValueError("broken")

    with capture_logs() as logs:
        await run_every(0.001, action, stop=stop, name="broken-once")
    assert [entry["event"] for entry in logs] == ["loop_failed"]
    assert REGISTRY.get_sample_value("posthorn_loop_runs_total", {"loop": "broken-once", "outcome": "failed"}) == 1
    assert REGISTRY.get_sample_value("posthorn_loop_runs_total", {"loop": "broken-once", "outcome": "ok"}) == 1


async def test_failures_in_a_row_make_the_pauses_longer(monkeypatch):
    pauses = []

    async def record(stop, seconds):
        pauses.append(seconds)
        if len(pauses) == 12:
            stop.set()
        return stop.is_set()

    async def fail():
        raise ValueError("broken")

    monkeypatch.setattr("posthorn_common.loops.stops_within", record)
    await run_every(1.0, fail, stop=asyncio.Event(), name="always-broken", jitter=0)
    assert pauses == [2, 4, 8, 16, 32, 60, 60, 60, 60, 60, 60, 60]


async def test_a_stop_ends_the_pause():
    stop = asyncio.Event()

    async def action():
        asyncio.get_running_loop().call_later(0.01, stop.set)

    await run_every(3600, action, stop=stop, name="long-pause")


async def test_stops_within_tells_whether_it_is_time_to_stop():
    stop = asyncio.Event()
    assert not await stops_within(stop, 0.001)
    stop.set()
    assert await stops_within(stop, 3600)
