"""Idempotency keys in Redis: a hash for each, gone after a day. Answers may hold secrets and are kept encrypted."""

from __future__ import annotations

import base64
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import orjson
import redis.asyncio as redis
import structlog
from redis.exceptions import RedisError

from posthorn_common.errors import TransientError
from posthorn_common.secretbox import SecretBox, SecretUnreadable
from posthorn_gateway.app.ports import KeptAnswer, KeyState, KnownKey
from posthorn_gateway.domain.idempotency import KEPT_SECONDS

log = structlog.get_logger(__name__)

# KEYS[1]: the key. ARGV: holder, milliseconds without a word after which a holder is given up, seconds to keep.
_CLAIM = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local known = redis.call('HMGET', KEYS[1], 'state', 'until', 'fingerprint', 'answer', 'holder')
-- A holder that asks again has not got the answer to its first claim.
if not known[1] or (known[1] == 'running' and known[5] == ARGV[1]) then
  redis.call('HSET', KEYS[1], 'state', 'running', 'holder', ARGV[1], 'until', now + ARGV[2])
  redis.call('EXPIRE', KEYS[1], ARGV[3])
  return {'ours'}
end
if known[1] == 'running' and tonumber(known[2]) <= now then
  return {'interrupted'}
end
return {known[1], known[3] or '', known[4] or ''}
"""
_RENEW = """
if redis.call('HGET', KEYS[1], 'holder') == ARGV[1] then
  local time = redis.call('TIME')
  redis.call('HSET', KEYS[1], 'until', time[1] * 1000 + math.floor(time[2] / 1000) + ARGV[2])
end
"""
# A Redis that was emptied meanwhile has no holder: the outcome is written all the same.
_CONCLUDE = """
local holder = redis.call('HGET', KEYS[1], 'holder')
if holder and holder ~= ARGV[1] then
  return
end
if ARGV[2] == 'free' then
  redis.call('DEL', KEYS[1])
else
  redis.call('HSET', KEYS[1], 'state', ARGV[2], 'holder', ARGV[1], 'fingerprint', ARGV[3], 'answer', ARGV[4])
  redis.call('EXPIRE', KEYS[1], ARGV[5])
end
"""


class RedisIdempotencyStore:
    """See the port IdempotencyStore."""

    def __init__(self, client: redis.Redis, box: SecretBox, *, lease_seconds: float) -> None:
        self._box = box
        self._lease_milliseconds = int(lease_seconds * 1000)
        self._claim = client.register_script(_CLAIM)
        self._renew = client.register_script(_RENEW)
        self._conclude = client.register_script(_CONCLUDE)

    async def claim(self, scope: str, holder: str) -> KnownKey:
        """Take a key, or tell why it cannot be had."""
        async with _redis_may_be_away():
            found: Any = await self._claim(keys=[_key(scope)], args=[holder, self._lease_milliseconds, KEPT_SECONDS])
        state = KeyState(found[0].decode())
        if state is not KeyState.DONE:
            return KnownKey(state)
        return KnownKey(state, found[1], self._unsealed(scope, found[2]))

    async def renew(self, scope: str, holder: str) -> None:
        """Say that the holder is still at work."""
        async with _redis_may_be_away():
            await self._renew(keys=[_key(scope)], args=[holder, self._lease_milliseconds])

    async def settle(self, scope: str, holder: str, fingerprint: bytes, answer: KeptAnswer | None) -> None:
        """Keep the answer."""
        sealed = b"" if answer is None else self._box.seal(_serialised(answer), purpose=_purpose(scope))
        await self._end(scope, holder, KeyState.DONE, fingerprint, sealed)

    async def interrupt(self, scope: str, holder: str) -> None:
        """Say that nobody knows."""
        await self._end(scope, holder, KeyState.INTERRUPTED)

    async def release(self, scope: str, holder: str) -> None:
        """Forget the key."""
        await self._end(scope, holder, "free")

    async def _end(self, scope: str, holder: str, state: str, fingerprint: bytes = b"", sealed: bytes = b"") -> None:
        async with _redis_may_be_away():
            await self._conclude(keys=[_key(scope)], args=[holder, state, fingerprint, sealed, KEPT_SECONDS])

    def _unsealed(self, scope: str, sealed: bytes) -> KeptAnswer | None:
        if not sealed:
            return None
        try:
            status, headers, body = orjson.loads(self._box.open(sealed, purpose=_purpose(scope)))
        except SecretUnreadable:
            # Another internal secret than when it was kept: that it was carried out is still known.
            log.warning("kept_answer_unreadable")
            return None
        decoded = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]
        return KeptAnswer(status, decoded, base64.b64decode(body))


@asynccontextmanager
async def _redis_may_be_away() -> AsyncGenerator[None]:
    try:
        yield
    except (RedisError, OSError) as error:
        raise TransientError(f"Redis: {type(error).__name__}") from error


def _key(scope: str) -> str:
    return f"posthorn:gateway:idempotency:{scope}"


def _purpose(scope: str) -> str:
    return f"idempotency:{scope}"


def _serialised(answer: KeptAnswer) -> bytes:
    headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in answer.headers]
    return orjson.dumps([answer.status, headers, base64.b64encode(answer.body).decode()])
