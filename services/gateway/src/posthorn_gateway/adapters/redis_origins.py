"""Allowed origins kept in Redis: one JSON document."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import orjson
import redis.asyncio as redis
from redis.exceptions import RedisError

from posthorn_common.errors import TransientError
from posthorn_gateway.app.ports import OrganisationOrigins

_KEY = "posthorn:gateway:origins"
# Written anew with every answer of auth: this is for an auth that is gone, not for one that is away.
_KEPT_SECONDS = 7 * 86_400


class RedisOriginStore:
    """See the port OriginStore."""

    def __init__(self, client: redis.Redis) -> None:
        self._client = client

    async def keep(self, known: OrganisationOrigins) -> None:
        """Keep what auth said."""
        document = orjson.dumps({str(id_): sorted(origins) for id_, origins in known.items()})
        try:
            await self._client.set(_KEY, document, ex=_KEPT_SECONDS)
        except (RedisError, OSError) as error:
            raise TransientError(f"Redis: {type(error).__name__}") from error

    async def recall(self) -> OrganisationOrigins:
        """Return what was kept last."""
        try:
            kept: Any = await self._client.get(_KEY)
        except (RedisError, OSError) as error:
            raise TransientError(f"Redis: {type(error).__name__}") from error
        try:
            document: dict[str, list[str]] = orjson.loads(kept) if kept else {}
            return {UUID(id_): frozenset(origins) for id_, origins in document.items()}
        except ValueError as error:  # not ours: auth will tell
            raise TransientError("Redis: allowed origins are not readable") from error
