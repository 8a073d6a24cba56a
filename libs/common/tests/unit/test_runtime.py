"""Roles run together and end together."""

from __future__ import annotations

import asyncio
import os
import signal

import pytest

from posthorn_common.runtime import Role, RoleEnded, run_roles


def _until_stopped(log: list[str], name: str) -> Role:
    async def run(stop: asyncio.Event) -> None:
        await stop.wait()
        log.append(name)

    return Role(name, run)


async def test_sigterm_lets_every_role_finish() -> None:
    log: list[str] = []
    asyncio.get_running_loop().call_later(0.05, os.kill, os.getpid(), signal.SIGTERM)
    await run_roles([_until_stopped(log, "a"), _until_stopped(log, "b")], grace_seconds=30)
    assert sorted(log) == ["a", "b"]


async def test_a_role_that_fails_ends_the_others_and_the_process() -> None:
    log: list[str] = []

    async def fail(_stop: asyncio.Event) -> None:
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        await run_roles([_until_stopped(log, "a"), Role("b", fail)], grace_seconds=30)
    assert log == ["a"]


async def test_a_role_that_ends_silently_ends_the_process_with_an_error() -> None:
    async def silent(_stop: asyncio.Event) -> None:
        return None

    with pytest.raises(RoleEnded):
        await run_roles([Role("worker", silent)], grace_seconds=30)


async def test_a_role_that_does_not_finish_in_time_is_cancelled() -> None:
    cancelled = asyncio.Event()

    async def stubborn(stop: asyncio.Event) -> None:
        await stop.wait()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise

    asyncio.get_running_loop().call_later(0.05, os.kill, os.getpid(), signal.SIGTERM)
    await run_roles([Role("stubborn", stubborn)], grace_seconds=0.1)
    assert cancelled.is_set()
