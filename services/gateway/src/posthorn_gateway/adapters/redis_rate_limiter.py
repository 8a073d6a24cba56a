"""Requests counted in Redis by the generic cell rate algorithm, for all gateway processes together.

One round trip for every request would cost more than the rest of the gateway: a process takes up to one per cent of a
limit at once and uses that share within a second. Limits below 200 a minute are exact. While Redis is away every
process counts by the same algorithm for itself.
"""

from __future__ import annotations

import math
import time

import redis.asyncio as redis
import structlog
from prometheus_client import Counter
from redis.exceptions import RedisError

from posthorn_gateway.app.ports import Verdict
from posthorn_gateway.app.recent import Recent

log = structlog.get_logger(__name__)

_SHARE = 100
_SHARE_SECONDS = 1.0
_PAUSE_SECONDS = 1.0
_HELD_KEYS = 10_000

_COUNTED_ALONE = Counter(
    "posthorn_gateway_rate_limit_counted_alone_total", "Requests that a process counted for itself, Redis being away."
)

# KEYS[1]: when the key's share would be unused again, in microseconds. ARGV: microseconds per request, requests that
# may come at once, requests wanted. Returns how many are granted, how many are left, and in how many microseconds one
# more, and all, would be free.
_TAKE = """
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local interval, burst, wanted = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local busy_until = math.max(tonumber(redis.call('GET', KEYS[1]) or '0'), now)
local free = math.floor((now + burst * interval - busy_until) / interval)
local granted = math.max(math.min(wanted, free), 0)
if granted > 0 then
  busy_until = busy_until + granted * interval
  redis.call('SET', KEYS[1], string.format('%.0f', busy_until), 'PX', math.ceil((busy_until - now) / 1000) + 1)
end
local wait = math.max(busy_until - (burst - 1) * interval - now, 0)
return {granted, math.max(free - granted, 0), math.ceil(wait), math.ceil(busy_until - now)}
"""


class _Held:
    """What is left of a share that this process has taken."""

    __slots__ = ("left", "verdict")

    def __init__(self, left: int, verdict: Verdict) -> None:
        self.left = left
        self.verdict = verdict


class _LocalCells:
    """What one process has counted for itself."""

    def __init__(self) -> None:
        self._busy_until: Recent[str, float] = Recent(_HELD_KEYS)

    def take(self, key: str, per_minute: int, now: float) -> Verdict:
        interval = 60 / per_minute
        busy_until = max(self._busy_until.get(key, now) or now, now)
        free = int((now + 60 - busy_until) / interval + 1e-9)
        if free > 0:
            busy_until += interval
            self._busy_until.put(key, busy_until, busy_until)
        return Verdict(
            allowed=free > 0,
            limit=per_minute,
            remaining=max(free - 1, 0),
            reset_seconds=math.ceil(busy_until - now),
            retry_after_seconds=max(math.ceil(busy_until - 60 + interval - now), 1),
        )


class RedisRateLimiter:
    """See the port RateLimiter. After a failure Redis is left alone for a second, so that its absence costs no time."""

    def __init__(self, client: redis.Redis) -> None:
        self._take = client.register_script(_TAKE)
        self._held: Recent[str, _Held] = Recent(_HELD_KEYS)
        self._away_until = float("-inf")
        self._local = _LocalCells()

    async def take(self, key: str, per_minute: int) -> Verdict:
        """Count one request of `key`."""
        now = time.monotonic()
        held = self._held.get(key, now)
        if held is not None and held.left > 0:
            held.left -= 1
            return held.verdict
        if now < self._away_until:
            return self._take_alone(key, per_minute)
        wanted = max(per_minute // _SHARE, 1)
        arguments = [60_000_000 / per_minute, per_minute, wanted]
        try:
            granted, remaining, wait, reset = await self._take(keys=[f"posthorn:gateway:rate:{key}"], args=arguments)
        except (RedisError, OSError) as error:
            self._away_until = time.monotonic() + _PAUSE_SECONDS
            log.warning("rate_limits_counted_alone", error=type(error).__name__)
            return self._take_alone(key, per_minute)
        verdict = Verdict(
            allowed=granted > 0,
            limit=per_minute,
            remaining=remaining,
            reset_seconds=_seconds(reset),
            retry_after_seconds=max(_seconds(wait), 1),
        )
        if granted > 1:
            self._held.put(key, _Held(granted - 1, verdict), now + _SHARE_SECONDS)
        return verdict

    def _take_alone(self, key: str, per_minute: int) -> Verdict:
        _COUNTED_ALONE.inc()
        return self._local.take(key, per_minute, time.monotonic())


def _seconds(microseconds: int) -> int:
    return -(-microseconds // 1_000_000)
