"""The pace of relays: one token bucket per relay in Redis, shared by all workers."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from uuid import UUID

import redis.asyncio as redis
import structlog
from prometheus_client import Counter
from redis.exceptions import RedisError

from posthorn_mailer.domain.relays import Relay

log = structlog.get_logger(__name__)

_LOCAL = Counter(
    "posthorn_relay_limiter_local_total", "Reservations that each process made by itself, because Redis was away."
)
# A bucket holds what the relay takes in this time, so that a short pause of the workers costs no throughput.
_BURST_SECONDS = 0.5
_REDIS_SECONDS = 0.5
_REDIS_AWAY_SECONDS = 5.0

# By Redis's own clock: workers' clocks differ.
_TAKE = """
local rate, burst, wanted = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local time = redis.call('TIME')
local now = tonumber(time[1]) + tonumber(time[2]) / 1000000
local bucket = redis.call('HMGET', KEYS[1], 'tokens', 'at')
local tokens, at = tonumber(bucket[1]) or burst, tonumber(bucket[2]) or now
tokens = math.min(burst, tokens + math.max(now - at, 0) * rate)
local granted = math.min(math.floor(tokens + 1e-6), wanted)
tokens = tokens - granted
redis.call('HSET', KEYS[1], 'tokens', tostring(tokens), 'at', string.format('%.6f', now))
redis.call('PEXPIRE', KEYS[1], math.ceil(burst / rate * 1000) + 60000)
local wait = 0
if granted == 0 then wait = (1 - tokens) / rate end
return {granted, tostring(wait)}
"""


@dataclass(slots=True)
class _Bucket:
    tokens: float
    at: float


class RedisRelayLimiter:
    """See the port RelayLimiter."""

    def __init__(self, client: redis.Redis) -> None:
        self._take = client.register_script(_TAKE)
        self._local: dict[UUID, _Bucket] = {}
        self._away_until = 0.0

    async def reserve(self, relay: Relay, wanted: int) -> tuple[int, float]:
        """Return how many messages may be sent now, and if none, the seconds to wait; see RelayLimiter.reserve."""
        rate = relay.messages_per_second
        if rate is None or wanted <= 0:
            return max(wanted, 0), 0.0
        burst = max(1.0, rate * _BURST_SECONDS)
        if time.monotonic() >= self._away_until:
            try:
                async with asyncio.timeout(_REDIS_SECONDS):
                    key = f"posthorn:mailer:pace:{relay.id}"
                    granted, wait = await self._take(keys=[key], args=[rate, burst, wanted])
            except (RedisError, OSError) as error:
                # Asking a Redis that does not answer costs half a second each time.
                self._away_until = time.monotonic() + _REDIS_AWAY_SECONDS
                log.warning("relay_limiter_away", error=type(error).__name__)
            else:
                return int(granted), float(wait)
        _LOCAL.inc()
        return self._take_locally(relay.id, rate, burst, wanted)

    def _take_locally(self, relay_id: UUID, rate: float, burst: float, wanted: int) -> tuple[int, float]:
        now = time.monotonic()
        # Empty at first: Redis may have granted a burst a moment ago.
        bucket = self._local.setdefault(relay_id, _Bucket(0.0, now))
        bucket.tokens = min(burst, bucket.tokens + (now - bucket.at) * rate)
        bucket.at = now
        granted = min(int(bucket.tokens + 1e-6), wanted)
        bucket.tokens -= granted
        return granted, 0.0 if granted else (1 - bucket.tokens) / rate
