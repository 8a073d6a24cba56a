"""Public forms counted in Redis, by address on the network and by list, in fixed windows."""

from __future__ import annotations

import hashlib
from uuid import UUID

import redis.asyncio as redis
import structlog
from redis.exceptions import RedisError

from posthorn_campaigns.domain.errors import TooManySubscribers
from posthorn_common.http.clients import address_group

log = structlog.get_logger(__name__)

_WINDOW_SECONDS = 3600


class RedisSubscribeThrottle:
    """See the port SubscribeThrottle.

    While Redis is away forms are taken: how often an address is written to is bounded by the database.
    """

    def __init__(self, client: redis.Redis, *, per_address: int, per_list: int) -> None:
        self._client = client
        self._per_address = per_address
        self._per_list = per_list

    async def attempt(self, list_id: UUID, remote_address: str) -> None:
        """Count a form. Raises TooManySubscribers."""
        digest = hashlib.sha256(address_group(remote_address).encode()).hexdigest()[:32]
        keys = {
            f"posthorn:campaigns:subscribe:address:{digest}": self._per_address,
            f"posthorn:campaigns:subscribe:list:{list_id}": self._per_list,
        }
        try:
            async with self._client.pipeline(transaction=True) as pipeline:
                for key in keys:
                    pipeline.incr(key)
                    pipeline.expire(key, _WINDOW_SECONDS, nx=True)
                answers = await pipeline.execute()
        except (RedisError, OSError) as error:
            log.warning("subscribe_throttle_away", error=type(error).__name__)
            return
        if any(used > limit for used, limit in zip(answers[::2], keys.values(), strict=True)):
            raise TooManySubscribers
