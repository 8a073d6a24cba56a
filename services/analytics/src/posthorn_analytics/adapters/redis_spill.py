"""Hits that wait in a Redis stream while PostgreSQL is away."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any
from uuid import UUID

import redis.asyncio as redis
from redis.exceptions import RedisError

from posthorn_analytics.domain.recipients import Hit, HitKind
from posthorn_common.errors import TransientError

STREAM = "posthorn:analytics:hits"
_FIELD = b"hit"


class RedisHitSpill:
    """See the port HitSpill. Beyond `limit` the oldest give way."""

    def __init__(self, client: redis.Redis, *, limit: int) -> None:
        self._client = client
        self._limit = limit

    async def put(self, hits: Sequence[Hit]) -> None:
        """Keep hits. Raises TransientError."""
        try:
            async with self._client.pipeline(transaction=False) as pipeline:
                for hit in hits:
                    pipeline.xadd(STREAM, {_FIELD: _dump(hit)}, maxlen=self._limit, approximate=True)
                await pipeline.execute()
        except (RedisError, OSError) as error:
            raise TransientError("Redis cannot keep hits") from error

    async def take(self, limit: int) -> list[tuple[str, Hit]]:
        """Return the oldest hits with their receipts. Raises TransientError."""
        try:
            # The library's types allow for decoded answers too, which this client does not ask for.
            entries: Any = await self._client.xrange(STREAM, count=limit)
        except (RedisError, OSError) as error:
            raise TransientError("Redis cannot be read") from error
        return [(receipt.decode(), _load(fields[_FIELD])) for receipt, fields in entries]

    async def remove(self, receipts: Sequence[str]) -> None:
        """Forget what was taken. Raises TransientError."""
        try:
            await self._client.xdel(STREAM, *receipts)
        except (RedisError, OSError) as error:
            raise TransientError("Redis cannot forget hits") from error


def _dump(hit: Hit) -> str:
    return json.dumps(asdict(hit), default=str)


def _load(text: bytes) -> Hit:
    values: dict[str, Any] = json.loads(text)
    return Hit(
        **{
            **values,
            **{name: UUID(values[name]) for name in ("id", "organisation_id", "campaign_id", "contact_id")},
            "kind": HitKind(values["kind"]),
            "at": datetime.fromisoformat(values["at"]),
        }
    )
