"""Pace and connections of relays, shared by all workers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator

import pytest
import pytest_asyncio
import redis.asyncio as redis

from posthorn_common.clock import new_id
from posthorn_local.ports import free_ports
from posthorn_mailer.adapters.redis_pace import RedisPace
from posthorn_mailer.domain.limits import ALL_OF_RELAY, Bucket, Demand, Grant

pytestmark = pytest.mark.integration


@pytest_asyncio.fixture
async def client(redis_url: str) -> AsyncGenerator[redis.Redis]:
    connected: redis.Redis = redis.Redis.from_url(redis_url, socket_timeout=2)
    yield connected
    await connected.aclose()


def bucket(rate: float) -> Bucket:
    return Bucket(f"test:{new_id()}", rate)


async def test_what_has_no_limit_is_granted_without_asking_anybody() -> None:
    nobody: redis.Redis = redis.Redis(host="127.0.0.1", port=1)
    assert await RedisPace(nobody).reserve([Demand((), 1000), Demand((), 3)]) == [Grant(1000), Grant(3)]
    await nobody.aclose()


async def test_a_bucket_has_one_pace_over_all_workers(client: redis.Redis) -> None:
    shared = bucket(100.0)
    started = time.monotonic()
    granted = 0

    async def worker() -> None:
        nonlocal granted
        pace = RedisPace(client)
        while time.monotonic() - started < 2:
            (grant,) = await pace.reserve([Demand((shared,), 7)])
            granted += grant.granted
            assert (grant.granted < 7) is (grant.refused_by == shared.key)
            await asyncio.sleep(grant.seconds)

    await asyncio.gather(*(worker() for _ in range(5)))
    assert granted <= 100 * (time.monotonic() - started) + 50 + 1
    # A machine that is busy with other things may use less of it, but never next to nothing.
    assert granted >= 100


async def test_the_scarcest_bucket_decides_and_others_lose_nothing_to_what_it_refuses(client: redis.Redis) -> None:
    pace, wide, narrow, other = RedisPace(client), bucket(20.0), bucket(4.0), bucket(20.0)
    grants = await pace.reserve([Demand((wide, narrow), 10), Demand((wide, other), 10)])
    assert [grant.granted for grant in grants] == [2, 8], "ten of the wide bucket in all"
    assert [grant.refused_by for grant in grants] == [narrow.key, wide.key]
    assert 0 < grants[0].seconds <= 0.25


async def test_what_is_urgent_goes_first_and_others_pay_for_it(client: redis.Redis) -> None:
    pace, slow = RedisPace(client), bucket(0.5)
    assert (await pace.reserve([Demand((slow,), 5)]))[0].granted == 1
    assert (await pace.reserve([Demand((slow,), 5)]))[0].granted == 0
    assert (await pace.reserve([Demand((slow,), 5)], urgent=True))[0].granted == 1
    (refused,) = await pace.reserve([Demand((slow,), 1)], urgent=True)
    assert (refused.granted, refused.refused_by) == (0, slow.key)
    (later,) = await pace.reserve([Demand((slow,), 1)])
    assert 2.0 < later.seconds <= 4.0, "the debt comes first"


async def test_an_emptied_redis_starts_anew(client: redis.Redis) -> None:
    pace, slow = RedisPace(client), bucket(0.01)
    assert (await pace.reserve([Demand((slow,), 1)]))[0].granted == 1
    assert (await pace.reserve([Demand((slow,), 1)]))[0].granted == 0
    await client.delete(f"posthorn:mailer:pace:{slow.key}")
    await client.script_flush()
    assert (await pace.reserve([Demand((slow,), 1)]))[0].granted == 1


async def test_while_redis_is_away_each_process_keeps_the_pace_by_itself() -> None:
    away: redis.Redis = redis.Redis(host="127.0.0.1", port=free_ports(1)[0], socket_timeout=1)
    pace, steady = RedisPace(away), bucket(100.0)
    started = time.monotonic()
    granted = 0
    while granted < 200:
        (grant,) = await pace.reserve([Demand((steady,), 10)])
        granted += grant.granted
        await asyncio.sleep(grant.seconds)
    assert granted <= 100 * (time.monotonic() - started) + 10
    assert (await pace.share(new_id(), "me", maximum=7, open_connections=0)).connections == 7
    await pace.slow_down(new_id(), "google", observed_rate=1.0)
    await away.aclose()


async def test_workers_share_a_relays_connections_and_are_never_above_the_maximum(client: redis.Redis) -> None:
    relay_id, paces = new_id(), [RedisPace(client) for _ in range(3)]

    async def part(number: int, open_connections: int) -> int:
        share = await paces[number].share(relay_id, str(number), maximum=10, open_connections=open_connections)
        return share.connections

    assert await part(0, 0) == 10, "it is alone"
    assert await part(1, 0) == 0, "the first has all of them still"
    assert await part(0, 10) == 5
    assert await part(1, 0) == 0, "they are not closed yet"
    assert await part(0, 5) == 5
    assert await part(1, 0) == 5
    assert await part(2, 0) == 0
    assert [await part(0, 5), await part(1, 5)] == [4, 4]
    assert [await part(0, 4), await part(1, 4), await part(2, 0)] == [4, 4, 2]
    await paces[1].leave(relay_id, "1")
    assert [await part(0, 4), await part(2, 2)] == [5, 5]


async def test_a_worker_that_is_silent_loses_its_part(client: redis.Redis) -> None:
    relay_id, pace = new_id(), RedisPace(client)
    await client.hset(f"posthorn:mailer:pace:connections:{relay_id}", "dead", f"9 {time.time() - 1:.6f}")
    share = await pace.share(relay_id, "alive", maximum=10, open_connections=0)
    assert (share.connections, share.workers) == (10, 1)


async def test_who_has_had_enough_is_mailed_more_slowly_by_all_and_recovers(client: redis.Redis) -> None:
    relay_id, one, other = new_id(), RedisPace(client), RedisPace(client)

    async def slowed() -> dict[str, float]:
        return dict((await other.share(relay_id, "other", maximum=1, open_connections=0)).slowed)

    assert await slowed() == {}
    await one.slow_down(relay_id, "google", observed_rate=100.0)
    await one.slow_down(relay_id, ALL_OF_RELAY, observed_rate=0.0)
    await other.slow_down(relay_id, "google", observed_rate=80.0)  # for the same reason, a moment later
    found = await slowed()
    assert found.keys() == {"google", ALL_OF_RELAY}
    assert 80.0 <= found["google"] < 90.0
    assert 8.0 <= found[ALL_OF_RELAY] < 9.0
    await _look_back(client, relay_id, "google", seconds=30)
    assert 104.0 <= (await slowed())["google"] < 115.0, "a quarter of the full pace in thirty seconds"
    await one.slow_down(relay_id, "google", observed_rate=50.0)
    assert 40.0 <= (await slowed())["google"] < 50.0
    await _look_back(client, relay_id, "google", seconds=600)
    assert (await slowed()).keys() == {ALL_OF_RELAY}


async def _look_back(client: redis.Redis, relay_id: object, group: str, *, seconds: float) -> None:
    """Let it seem as if so much time had passed."""
    key = f"posthorn:mailer:pace:slowed:{relay_id}"
    rate, full, at = (await client.hget(key, group)).split()
    await client.hset(key, group, b"%s %s %.6f" % (rate, full, float(at) - seconds))
