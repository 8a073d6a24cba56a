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
REJECTED = "posthorn:analytics:hits:rejected"
_FIELD = b"hit"
_MOST_REJECTED = 10_000


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

    async def take(self, limit: int) -> list[tuple[str, Hit | None]]:
        """Return the oldest hits with their receipts, None for one that cannot be read. Raises TransientError."""
        try:
            # The library's types allow for decoded answers too, which this client does not ask for.
            entries: Any = await self._client.xrange(STREAM, count=limit)
        except (RedisError, OSError) as error:
            raise TransientError("Redis cannot be read") from error
        return [(receipt.decode(), _load(fields)) for receipt, fields in entries]

    async def remove(self, receipts: Sequence[str]) -> None:
        """Forget what was taken. Raises TransientError."""
        try:
            await self._client.xdel(STREAM, *receipts)
        except (RedisError, OSError) as error:
            raise TransientError("Redis cannot forget hits") from error

    async def reject(self, receipts: Sequence[str]) -> None:
        """Move what was taken to the stream of the rejected. Raises TransientError."""
        try:
            async with self._client.pipeline(transaction=True) as pipeline:
                for receipt in receipts:
                    entries: Any = await self._client.xrange(STREAM, min=receipt, max=receipt)
                    for _receipt, fields in entries:
                        pipeline.xadd(REJECTED, fields, maxlen=_MOST_REJECTED, approximate=True)
                    pipeline.xdel(STREAM, receipt)
                await pipeline.execute()
        except (RedisError, OSError) as error:
            raise TransientError("Redis cannot move hits") from error


def _dump(hit: Hit) -> str:
    return json.dumps(asdict(hit), default=str)


def _load(fields: dict[bytes, bytes]) -> Hit | None:
    """Return the hit, or None if another version of the service, or somebody else, has written the entry."""
    try:
        values: dict[str, Any] = json.loads(fields[_FIELD])
        return Hit(
            **{
                **values,
                **{name: UUID(values[name]) for name in ("id", "organisation_id", "campaign_id", "contact_id")},
                "kind": HitKind(values["kind"]),
                "at": datetime.fromisoformat(values["at"]),
            }
        )
    except (KeyError, TypeError, ValueError, AttributeError):
        return None
