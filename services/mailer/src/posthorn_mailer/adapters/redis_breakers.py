"""Circuit breakers of relays in Redis: a hash per relay, by Redis's clock, shared by all workers.

`failures` 0 is a relay that has come back; a hash that is missing says nothing.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import redis.asyncio as redis
import structlog
from prometheus_client import Counter
from redis.exceptions import RedisError

from posthorn_mailer.app.ports_breakers import Known
from posthorn_mailer.domain.relays import RelayHealth, RelayState, RelayTrouble

log = structlog.get_logger(__name__)

_LOCAL = Counter(
    "posthorn_relay_breaker_local_total", "Questions that each process answered by itself, because Redis was away."
)
_REDIS_SECONDS = 0.5
_REDIS_AWAY_SECONDS = 5.0
# Renewed every second or so; so long does a relay wait for the probe of a process that has died.
_PROBE_SECONDS = 30
# Longer than any pause; whoever comes later tries the relay as if nothing had been.
_REMEMBERED_SECONDS = 86_400
_FIELDS = ("failures", "open_until", "probe_by", "probe_until", "trouble", "since")

# ARGV: by, failures, seconds left, trouble. Answers: failures, seconds left, trouble, whether another one probes.
_HEAD = f"""
local time = redis.call('TIME')
local now = tonumber(time[1]) + tonumber(time[2]) / 1000000
local by = ARGV[1]
local b = redis.call('HMGET', KEYS[1], 'failures', 'open_until', 'probe_by', 'probe_until', 'trouble')
local failures, open_until = tonumber(b[1]), tonumber(b[2]) or 0
local trouble = b[5] or ''
local probed = (b[3] and b[3] ~= by and tonumber(b[4] or 0) > now) and 1 or 0
local function open(count, seconds, why)
    if (failures or 0) == 0 then redis.call('HSET', KEYS[1], 'since', string.format('%.6f', now)) end
    failures, open_until, trouble, probed = count, now + seconds, why, 0
    redis.call('HSET', KEYS[1], 'failures', failures, 'open_until', string.format('%.6f', open_until), 'trouble', why)
    redis.call('HDEL', KEYS[1], 'probe_by', 'probe_until')
    redis.call('EXPIRE', KEYS[1], {_REMEMBERED_SECONDS})
end
local function answer()
    local left = math.max(open_until - now, 0)
    return {{failures, string.format('%.6f', left), trouble, left > 0 and 0 or probed}}
end
"""
_ASK = f"""{_HEAD}
if not failures then
    if tonumber(ARGV[2]) == 0 then return false end
    open(tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[4])
end
if failures > 0 and open_until <= now and probed == 0 then
    redis.call('HSET', KEYS[1], 'probe_by', by, 'probe_until', string.format('%.6f', now + {_PROBE_SECONDS}))
end
return answer()
"""
_OPEN = f"""{_HEAD}
if (failures or 0) == 0 or open_until <= now and probed == 0 then
    open(math.max(tonumber(ARGV[2]), (failures or 0) + 1), tonumber(ARGV[3]), ARGV[4])
end
return answer()
"""
_CLOSE = f"""{_HEAD}
if not failures or failures > 0 and open_until <= now and probed == 0 then
    redis.call('DEL', KEYS[1])
    redis.call('HSET', KEYS[1], 'failures', 0, 'since', string.format('%.6f', now))
    redis.call('EXPIRE', KEYS[1], {_REMEMBERED_SECONDS})
end
return 0
"""
_LEAVE = """
if redis.call('HGET', KEYS[1], 'probe_by') == ARGV[1] then redis.call('HDEL', KEYS[1], 'probe_by', 'probe_until') end
return 0
"""
_KEEP = f"""
local time = redis.call('TIME')
if redis.call('HGET', KEYS[1], 'probe_by') == ARGV[1] then
    redis.call('HSET', KEYS[1], 'probe_until', string.format('%.6f', tonumber(time[1]) + {_PROBE_SECONDS}))
end
return 0
"""


class RedisBreakers:
    """See the port SharedBreakers."""

    def __init__(self, client: redis.Redis) -> None:
        self._client = client
        self._ask = client.register_script(_ASK)
        self._open = client.register_script(_OPEN)
        self._close = client.register_script(_CLOSE)
        self._leave = client.register_script(_LEAVE)
        self._keep = client.register_script(_KEEP)
        self._away_until = 0.0

    async def ask(self, relay_id: UUID, by: str, own: Known) -> Known | None:
        """Return what is known, and take the probe if it is time for one."""
        return _known(await self._run(self._ask, relay_id, by, own))

    async def open(self, relay_id: UUID, by: str, own: Known) -> Known | None:
        """Note a failure."""
        return _known(await self._run(self._open, relay_id, by, own))

    async def close(self, relay_id: UUID, by: str) -> None:
        """Note that a message got through."""
        await self._run(self._close, relay_id, by)

    async def leave(self, relay_id: UUID, by: str) -> None:
        """Let another process try the relay."""
        await self._run(self._leave, relay_id, by)

    async def keep(self, relay_ids: Collection[UUID], by: str) -> None:
        """Note that this process still tries these relays."""
        for relay_id in relay_ids:
            await self._run(self._keep, relay_id, by)

    async def look(self, relay_ids: Collection[UUID]) -> Mapping[UUID, Known]:
        """Return what is known of these relays."""
        now, found = await self._hashes(relay_ids)
        return {relay_id: _looked_at(fields, now) for relay_id, fields in found.items() if fields["failures"]}

    async def health(self, relay_ids: Collection[UUID]) -> Mapping[UUID, RelayHealth]:
        """Return the state of each of these relays."""
        now, found = await self._hashes(relay_ids)
        unknown = RelayHealth(RelayState.UNKNOWN)
        return {id_: _health(found[id_], now) if id_ in found else unknown for id_ in relay_ids}

    async def _hashes(self, relay_ids: Collection[UUID]) -> tuple[float, dict[UUID, dict[str, str]]]:
        """Return Redis's time, and the relays' hashes; none while Redis is away."""
        asked = list(relay_ids)
        if not asked or time.monotonic() < self._away_until:
            return 0.0, {}
        try:
            async with asyncio.timeout(_REDIS_SECONDS), self._client.pipeline(transaction=False) as pipeline:
                pipeline.time()
                for relay_id in asked:
                    pipeline.hmget(_key(relay_id), _FIELDS)
                (seconds, micros), *rows = await pipeline.execute()
        except (RedisError, OSError) as error:
            self._went_away(error)
            return 0.0, {}
        hashes = [
            {name: "" if value is None else value.decode() for name, value in zip(_FIELDS, row, strict=True)}
            for row in rows
        ]
        return int(seconds) + int(micros) / 1_000_000, dict(zip(asked, hashes, strict=True))

    async def _run(self, script: Any, relay_id: UUID, by: str, own: Known | None = None) -> Any:
        """Run a script; None while Redis is away."""
        if time.monotonic() < self._away_until:
            _LOCAL.inc()
            return None
        arguments: list[Any] = [by]
        if own is not None:
            arguments += [own.failures, own.seconds_left, own.trouble or ""]
        try:
            async with asyncio.timeout(_REDIS_SECONDS):
                return await script(keys=[_key(relay_id)], args=arguments)
        except (RedisError, OSError) as error:
            self._went_away(error)
            return None

    def _went_away(self, error: Exception) -> None:
        # Asking a Redis that does not answer costs half a second each time.
        self._away_until = time.monotonic() + _REDIS_AWAY_SECONDS
        _LOCAL.inc()
        log.warning("relay_breakers_away", error=type(error).__name__)


def _key(relay_id: UUID) -> str:
    return f"posthorn:mailer:breaker:{relay_id}"


def _known(answer: Any) -> Known | None:
    if answer is None:
        return None
    failures, seconds, trouble, probed = answer
    return Known(int(failures), float(seconds), _trouble(trouble.decode()), bool(probed))


def _looked_at(fields: dict[str, str], now: float) -> Known:
    left = max(float(fields["open_until"] or 0) - now, 0.0)
    failures = int(fields["failures"])
    return Known(failures, left, _trouble(fields["trouble"]), probed_elsewhere=failures > 0 and left == 0)


def _health(fields: dict[str, str], now: float) -> RelayHealth:
    since = datetime.fromtimestamp(float(fields["since"]), UTC) if fields["since"] else None
    if not int(fields["failures"] or 0):
        return RelayHealth(RelayState.CLOSED, since)
    state = RelayState.OPEN if float(fields["open_until"] or 0) > now else RelayState.HALF_OPEN
    return RelayHealth(state, since, _trouble(fields["trouble"]))


def _trouble(text: str) -> RelayTrouble | None:
    return RelayTrouble(text) if text else None
