"""The disk of PostgreSQL is full."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from posthorn_local.client import ApiProblem
from posthorn_local.plan import DATABASE

from .small_disk import SmallDisk, mounted, move_back, move_there, size_bytes

_ROOM_BYTES = 96 * 2**20
_PER_RECIPIENT_BYTES = 4096
"""More than a delivery takes with its indexes, events and pages half empty."""

_FULL_SECONDS = 10.0


@pytest_asyncio.fixture
async def small_disk(fleet: Any, launch: Any, account: Any, tmp_path: Path) -> AsyncGenerator[SmallDisk]:
    """The database is on it, until the campaign is over."""
    url = fleet.stack.plan.servers.postgres_admin
    size = await size_bytes(url, DATABASE) + _ROOM_BYTES + _PER_RECIPIENT_BYTES * len(account.addresses)
    with mounted(tmp_path / "disk", size) as disk:
        await move_there(url, DATABASE, tmp_path / "disk")
        try:
            yield disk
        finally:
            disk.empty()
            await move_back(url, DATABASE)


async def test_a_full_disk_stops_everything_until_there_is_room_again(
    launch: Any, fleet: Any, small_disk: SmallDisk
) -> None:
    def fill() -> None:
        fleet.complete()
        # Room for a part of the audience: so many are sent to, and then it stops.
        small_disk.fill(spare_bytes=256 * 1024)

    flight = await launch("disk of PostgreSQL full", prepare=fill)
    await asyncio.sleep(_FULL_SECONDS)
    with pytest.raises(ApiProblem) as caught:
        await flight.api.upload_csv("/v1/imports", _csv(50_000))
    assert caught.value.status == 503
    await flight.still()
    send = await flight.api.get(f"{flight.path}/send")
    assert send["planned_at"] is None, "what only reads goes on"
    assert flight.accepted() <= send["audience"] < len(flight.addresses), "nobody is mailed who is not written down"
    small_disk.empty()
    await flight.ends()


def _csv(rows: int) -> bytes:
    lines = ["email,first_name", *(f"late.{number}@example.org,Late {number}" for number in range(rows))]
    return "\n".join(lines).encode()
