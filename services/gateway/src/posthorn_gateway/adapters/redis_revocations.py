"""Revocations kept in Redis: one sorted set of ids, by the time until which they matter."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any
from uuid import UUID

import redis.asyncio as redis
from redis.exceptions import RedisError

from posthorn_common.errors import TransientError

_KEY = "posthorn:gateway:revoked"


class RedisRevocationStore:
    """See the port RevocationStore."""

    def __init__(self, client: redis.Redis) -> None:
        self._client = client

    async def add(self, revoked: Mapping[UUID, float]) -> None:
        """Keep ids until the given times."""
        try:
            async with self._client.pipeline(transaction=True) as pipeline:
                pipeline.zadd(_KEY, {str(id_): until for id_, until in revoked.items()})
                pipeline.zremrangebyscore(_KEY, "-inf", time.time())
                # NX then GT: the key outlives its last member, however the processes take turns.
                last = int(max(revoked.values())) + 1
                pipeline.expireat(_KEY, last, nx=True)
                pipeline.expireat(_KEY, last, gt=True)
                await pipeline.execute()
        except (RedisError, OSError) as error:
            raise TransientError(f"Redis: {type(error).__name__}") from error

    async def all(self, now: float) -> Mapping[UUID, float]:
        """Return what is still kept."""
        try:
            found: Any = await self._client.zrangebyscore(_KEY, now, "+inf", withscores=True)
        except (RedisError, OSError) as error:
            raise TransientError(f"Redis: {type(error).__name__}") from error
        return {UUID(member.decode()): float(until) for member, until in found}
