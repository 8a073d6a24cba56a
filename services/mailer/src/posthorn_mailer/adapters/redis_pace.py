"""Pace and connections of relays in Redis, by Redis's own clock, as workers' clocks differ.

Without Redis each process keeps the pace by itself, with its part of each rate, and the connections that it had.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import redis.asyncio as redis
import structlog
from prometheus_client import Counter
from redis.exceptions import RedisError

from posthorn_mailer.app.ports_pace import Share
from posthorn_mailer.domain.limits import LEAST_FULL_RATE, SLOWER, SLOWEST_RATE, Bucket, Demand, Grant

log = structlog.get_logger(__name__)

_LOCAL = Counter("posthorn_pace_local_total", "Reservations that each process made by itself, because Redis was away.")
_SLOWED = Counter("posthorn_slow_downs_total", "Times that a relay or a recipient domain has had enough.")

_PREFIX = "posthorn:mailer:pace:"
# A bucket holds what comes in this time, so that a short pause of the workers costs no throughput.
_BURST_SECONDS = 0.5
_REDIS_SECONDS = 0.5
_REDIS_AWAY_SECONDS = 5.0
_SHARE_SECONDS = 10.0
_SLOW_PAUSE_SECONDS = 10.0
_GROWTH_SECONDS = 120.0
_KEPT_SECONDS = 86_400

_CLOCK = """
local time = redis.call('TIME')
local now = tonumber(time[1]) + tonumber(time[2]) / 1000000
"""
# ARGV: 1 if urgent, rate and burst of each key, then for each demand: wanted, number of buckets, their places.
_RESERVE = f"""{_CLOCK}
local urgent, tokens, rate, burst = ARGV[1] == '1', {{}}, {{}}, {{}}
for i = 1, #KEYS do
    rate[i], burst[i] = tonumber(ARGV[2 * i]), tonumber(ARGV[2 * i + 1])
    local bucket = redis.call('HMGET', KEYS[i], 'tokens', 'at')
    local at = tonumber(bucket[2]) or now
    tokens[i] = math.min(burst[i], (tonumber(bucket[1]) or burst[i]) + math.max(now - at, 0) * rate[i])
end
local answer, at = {{}}, 2 * #KEYS + 2
while at <= #ARGV do
    local granted, refusing = tonumber(ARGV[at]), 0
    for j = 1, tonumber(ARGV[at + 1]) do
        local i = tonumber(ARGV[at + 1 + j])
        local has = math.max(math.floor(tokens[i] + (urgent and burst[i] or 0) + 1e-6), 0)
        if has < granted then granted, refusing = has, i end
    end
    for j = 1, tonumber(ARGV[at + 1]) do
        local i = tonumber(ARGV[at + 1 + j])
        tokens[i] = tokens[i] - granted
    end
    table.insert(answer, granted)
    table.insert(answer, refusing)
    local missing = refusing > 0 and (1 - tokens[refusing] - (urgent and burst[refusing] or 0)) / rate[refusing] or 0
    table.insert(answer, tostring(math.max(missing, 0)))
    at = at + 2 + tonumber(ARGV[at + 1])
end
for i = 1, #KEYS do
    redis.call('HSET', KEYS[i], 'tokens', tostring(tokens[i]), 'at', string.format('%.6f', now))
    redis.call('PEXPIRE', KEYS[i], math.ceil(2 * burst[i] / rate[i] * 1000) + 60000)
end
return answer
"""
# What is slowed down grows by its full pace in two minutes, and is free again at twice that pace.
_GROWN = f"""
local function grown(text)
    local rate, full, at = string.match(text, '(%S+) (%S+) (%S+)')
    full, at = tonumber(full), tonumber(at)
    return tonumber(rate) + math.max(now - at, 0) * full / {_GROWTH_SECONDS}, full, at
end
"""
# KEYS: connections by worker, slowed groups. ARGV: worker, maximum, open connections.
_SHARE = f"""{_CLOCK}{_GROWN}
local taken, workers, all = 0, 1, redis.call('HGETALL', KEYS[1])
for i = 1, #all, 2 do
    local count, ends = string.match(all[i + 1], '(%S+) (%S+)')
    if tonumber(ends) < now then redis.call('HDEL', KEYS[1], all[i])
    elseif all[i] ~= ARGV[1] then taken, workers = taken + tonumber(count), workers + 1 end
end
local maximum, open = tonumber(ARGV[2]), tonumber(ARGV[3])
local fair = math.max(math.floor(maximum / workers), 1) + (maximum > workers and maximum % workers or 0)
local mine = math.max(math.min(fair, maximum - taken), 0)
redis.call('HSET', KEYS[1], ARGV[1], string.format('%d %.6f', math.max(mine, open), now + {_SHARE_SECONDS}))
redis.call('EXPIRE', KEYS[1], {_KEPT_SECONDS})
local answer, slowed = {{mine, workers}}, redis.call('HGETALL', KEYS[2])
for i = 1, #slowed, 2 do
    local rate, full = grown(slowed[i + 1])
    if rate >= 2 * full then redis.call('HDEL', KEYS[2], slowed[i])
    else table.insert(answer, slowed[i]) table.insert(answer, tostring(rate)) end
end
return answer
"""
# KEYS: slowed groups. ARGV: group, observed rate.
_SLOW = f"""{_CLOCK}{_GROWN}
local observed = tonumber(ARGV[2])
local rate, full = math.max(observed, {LEAST_FULL_RATE}), math.max(observed, {LEAST_FULL_RATE})
local known = redis.call('HGET', KEYS[1], ARGV[1])
if known then
    local at
    rate, full, at = grown(known)
    if now - at < {_SLOW_PAUSE_SECONDS} then return 0 end
    rate = math.min(rate, math.max(observed, {SLOWEST_RATE}))
end
rate = math.max(rate * {SLOWER}, {SLOWEST_RATE})
redis.call('HSET', KEYS[1], ARGV[1], string.format('%.4f %.4f %.6f', rate, full, now))
redis.call('EXPIRE', KEYS[1], {_KEPT_SECONDS})
return 1
"""


@dataclass(slots=True)
class _Tokens:
    tokens: float
    at: float


class RedisPace:
    """See the port SharedPace."""

    def __init__(self, client: redis.Redis) -> None:
        self._client = client
        self._reserve = client.register_script(_RESERVE)
        self._share = client.register_script(_SHARE)
        self._slow = client.register_script(_SLOW)
        self._shares: dict[UUID, Share] = {}
        self._workers = 1
        self._local: dict[str, _Tokens] = {}
        self._away_until = 0.0

    async def reserve(self, demands: Sequence[Demand], *, urgent: bool = False) -> list[Grant]:
        """Take tokens for as many messages of each demand as may be sent now; see SharedPace.reserve."""
        buckets = list(dict.fromkeys(bucket for demand in demands for bucket in demand.buckets))
        if not buckets:
            return [Grant(demand.wanted) for demand in demands]
        places = {bucket: place for place, bucket in enumerate(buckets, 1)}
        arguments: list[Any] = [int(urgent)]
        for bucket in buckets:
            arguments += (bucket.rate, _burst(bucket))
        for demand in demands:
            arguments += (demand.wanted, len(demand.buckets), *(places[bucket] for bucket in demand.buckets))
        keys = [_PREFIX + bucket.key for bucket in buckets]
        answer = await self._ask(lambda: self._reserve(keys=keys, args=arguments))
        if answer is None:
            _LOCAL.inc()
            return [self._reserve_locally(demand, urgent=urgent) for demand in demands]
        return [
            Grant(granted, buckets[refusing - 1].key if refusing else None, float(seconds))
            for granted, refusing, seconds in zip(answer[::3], answer[1::3], answer[2::3], strict=True)
        ]

    async def share(self, relay_id: UUID, worker: str, *, maximum: int, open_connections: int) -> Share:
        """Return this worker's part of a relay's connections; see SharedPace.share."""
        keys = [_connections_key(relay_id), _slowed_key(relay_id)]
        answer = await self._ask(lambda: self._share(keys=keys, args=[worker, maximum, open_connections]))
        if answer is None:
            known = self._shares.get(relay_id)
            return known or Share(max(maximum // self._workers, 1), self._workers, {})
        connections, workers, *slowed = answer
        found = {group.decode(): float(rate) for group, rate in zip(slowed[::2], slowed[1::2], strict=True)}
        share = self._shares[relay_id] = Share(connections, workers, found)
        self._workers = workers
        return share

    async def leave(self, relay_id: UUID, worker: str) -> None:
        """Give this worker's part to others."""
        self._shares.pop(relay_id, None)
        await self._ask(lambda: self._client.hdel(_connections_key(relay_id), worker))

    async def slow_down(self, relay_id: UUID, group: str, *, observed_rate: float) -> None:
        """Send to a recipient group at half the pace for now; see SharedPace.slow_down."""
        if await self._ask(lambda: self._slow(keys=[_slowed_key(relay_id)], args=[group, observed_rate])):
            _SLOWED.inc()
            log.warning("slowed_down", relay_id=str(relay_id), group=group, observed_rate=round(observed_rate, 2))

    async def _ask(self, question: Callable[[], Awaitable[Any]]) -> Any:
        """Return the answer; None while Redis is away, which is not asked again for some seconds then."""
        if time.monotonic() < self._away_until:
            return None
        try:
            async with asyncio.timeout(_REDIS_SECONDS):
                return await question()
        except (RedisError, OSError) as error:
            self._away_until = time.monotonic() + _REDIS_AWAY_SECONDS
            log.warning("pace_store_away", error=type(error).__name__)
            return None

    def _reserve_locally(self, demand: Demand, *, urgent: bool) -> Grant:
        workers = max((share.workers for share in self._shares.values()), default=self._workers)
        granted, refused_by, seconds = demand.wanted, None, 0.0
        found = [(bucket, self._refilled(bucket, workers)) for bucket in demand.buckets]
        for bucket, local in found:
            debt = _burst(bucket) / workers if urgent else 0.0
            has = max(math.floor(local.tokens + debt + 1e-6), 0)
            if has < granted:
                granted, refused_by = has, bucket.key
                seconds = (1 - local.tokens - debt + granted) / (bucket.rate / workers)
        for _bucket, local in found:
            local.tokens -= granted
        return Grant(granted, refused_by, max(seconds, 0.0))

    def _refilled(self, bucket: Bucket, workers: int) -> _Tokens:
        now = time.monotonic()
        # Empty at first: Redis may have granted a burst a moment ago.
        local = self._local.setdefault(bucket.key, _Tokens(0.0, now))
        most = max(_burst(bucket) / workers, 1.0)
        local.tokens = min(most, local.tokens + (now - local.at) * bucket.rate / workers)
        local.at = now
        return local


def _burst(bucket: Bucket) -> float:
    return max(1.0, bucket.rate * _BURST_SECONDS)


def _connections_key(relay_id: UUID) -> str:
    return f"{_PREFIX}connections:{relay_id}"


def _slowed_key(relay_id: UUID) -> str:
    return f"{_PREFIX}slowed:{relay_id}"
