"""The pace of relays."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator

import pytest
import pytest_asyncio
import redis.asyncio as redis

from posthorn_local.ports import free_ports
from posthorn_mailer.adapters.redis_limiter import RedisRelayLimiter

from .smtp_peer import a_relay

pytestmark = pytest.mark.integration


@pytest_asyncio.fixture
async def client(redis_url: str) -> AsyncGenerator[redis.Redis]:
    connected: redis.Redis = redis.Redis.from_url(redis_url, socket_timeout=2)
    yield connected
    await connected.aclose()


async def test_without_a_limit_all_are_granted_at_once(client: redis.Redis) -> None:
    limiter = RedisRelayLimiter(client)
    assert await limiter.reserve(a_relay(25), 1000) == (1000, 0.0)
    assert await limiter.reserve(a_relay(25, messages_per_second=5.0), 0) == (0, 0.0)


async def test_a_relay_has_one_pace_over_all_workers(client: redis.Redis) -> None:
    relay, other = a_relay(25, messages_per_second=100.0), a_relay(25, messages_per_second=100.0)
    started = time.monotonic()
    granted = 0

    async def worker() -> None:
        nonlocal granted
        limiter = RedisRelayLimiter(client)
        while time.monotonic() - started < 2:
            now, wait = await limiter.reserve(relay, 7)
            granted += now
            assert (now > 0) is (wait == 0)
            await asyncio.sleep(wait)

    await asyncio.gather(*(worker() for _ in range(5)))
    seconds = time.monotonic() - started
    assert granted <= 100 * seconds + 50 + 1
    # A machine that is busy with other things may use less of it, but never next to nothing.
    assert granted >= 100
    assert (await RedisRelayLimiter(client).reserve(other, 7))[0] == 7, "another relay has a pace of its own"


async def test_a_slow_relay_grants_one_and_says_when_the_next_may_go(client: redis.Redis) -> None:
    limiter, relay = RedisRelayLimiter(client), a_relay(25, messages_per_second=0.5)
    assert await limiter.reserve(relay, 10) == (1, 0.0)
    granted, wait = await limiter.reserve(relay, 10)
    assert granted == 0
    assert 0 < wait <= 2.0


async def test_an_emptied_redis_starts_anew(client: redis.Redis) -> None:
    limiter, relay = RedisRelayLimiter(client), a_relay(25, messages_per_second=0.01)
    assert (await limiter.reserve(relay, 1))[0] == 1
    assert (await limiter.reserve(relay, 1))[0] == 0
    await client.delete(f"posthorn:mailer:pace:{relay.id}")
    await client.script_flush()
    assert (await limiter.reserve(relay, 1))[0] == 1


async def test_while_redis_is_away_each_process_keeps_the_pace_by_itself() -> None:
    away: redis.Redis = redis.Redis(host="127.0.0.1", port=free_ports(1)[0], socket_timeout=1)
    limiter, relay = RedisRelayLimiter(away), a_relay(25, messages_per_second=100.0)
    started = time.monotonic()
    granted = 0
    while granted < 200:
        now, wait = await limiter.reserve(relay, 10)
        granted += now
        await asyncio.sleep(wait)
    assert granted <= 100 * (time.monotonic() - started) + 10
    await away.aclose()
