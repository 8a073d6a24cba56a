"""PostgreSQL, Redis and RabbitMQ lose their data or go away."""

from __future__ import annotations

import asyncio
import shutil
import signal
from dataclasses import replace
from typing import Any

import pytest
import redis.asyncio as redis

from .flights import CONNECTIONS

_AWAY_SECONDS = 5.0


@pytest.mark.e2e
async def test_redis_is_emptied(launch: Any, fleet: Any) -> None:
    flight = await launch("FLUSHALL", lasting=5)
    async with redis.Redis.from_url(fleet.stack.plan.servers.redis) as client:
        for share in (0.1, 0.4):
            await flight.under_way(share)
            await client.flushall()
    await flight.ends()


async def test_redis_dies_and_comes_back_with_nothing(launch: Any, fleet: Any) -> None:
    flight = await launch("SIGKILL of Valkey, back without data")
    await flight.under_way(0.2)
    server = fleet.stack.plan.valkey
    server.process.kill()
    await asyncio.sleep(_AWAY_SECONDS)
    shutil.rmtree(server.data_folder)
    await asyncio.to_thread(server.start)
    await flight.ends()


async def test_rabbitmq_is_stopped_and_started(launch: Any, fleet: Any) -> None:
    flight = await launch("RabbitMQ stopped and started")
    await flight.under_way(0.2)
    server = fleet.stack.plan.rabbitmq
    await asyncio.to_thread(server.stop)
    await asyncio.sleep(_AWAY_SECONDS)
    await asyncio.to_thread(server.start)
    await flight.ends()


async def test_rabbitmq_is_killed(launch: Any, fleet: Any) -> None:
    flight = await launch("SIGKILL of RabbitMQ")
    await flight.under_way(0.2)
    server = fleet.stack.plan.rabbitmq
    server.process.kill()
    await asyncio.to_thread(server.start)
    await flight.ends()


async def test_postgresql_stops_at_once_and_recovers(launch: Any, fleet: Any) -> None:
    flight = await launch("PostgreSQL stopped at once, recovered")
    await flight.under_way(0.3)
    server = fleet.stack.plan.postgres
    stopping = replace(server.process, stop_signal=signal.SIGQUIT)  # its immediate shutdown
    await asyncio.to_thread(stopping.stop)
    before = await flight.still()
    await asyncio.sleep(_AWAY_SECONDS)
    assert flight.accepted() == before, "no mail that is not written down"
    await asyncio.to_thread(server.start)
    await flight.ends(in_doubt_at_most=CONNECTIONS)
