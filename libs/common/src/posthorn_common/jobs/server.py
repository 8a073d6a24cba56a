"""Whether a Redis server keeps what it is given."""

from __future__ import annotations

import asyncio

import redis.asyncio as redis
import structlog
from prometheus_client import Gauge
from redis.exceptions import RedisError

from posthorn_common.errors import TransientError
from posthorn_common.loops import stops_within

log = structlog.get_logger(__name__)

_SAFE = Gauge(
    "posthorn_redis_safe", "1 if Redis evicts nothing and keeps an append-only file, 0 if not, NaN if not checked."
)
_SAFE.set(float("nan"))
_CHECK_SECONDS = 60.0
_RETRY_SECONDS = 5.0


class UnsafeRedis(Exception):
    """Redis may drop jobs: it evicts keys, or keeps no append-only file."""


async def check_redis(redis_url: str, *, environment: str) -> None:
    """Check that Redis evicts no key and keeps an append-only file; a warning and a metric say so if not.

    Raises UnsafeRedis in the environment `production`, and TransientError when Redis is away.
    """
    try:
        async with redis.Redis.from_url(redis_url, decode_responses=True, socket_connect_timeout=5) as client:
            facts = await client.info("memory") | await client.info("persistence")
    except (RedisError, OSError) as error:
        raise TransientError(f"Redis is away: {type(error).__name__}") from error
    problems = []
    if (policy := facts.get("maxmemory_policy")) != "noeviction":
        problems.append(f"maxmemory-policy is {policy}, must be noeviction")
    if not facts.get("aof_enabled"):
        problems.append("appendonly is off, must be on")
    _SAFE.set(0 if problems else 1)
    if problems:
        log.warning("redis_unsafe", problems=problems)
        if environment == "production":
            raise UnsafeRedis("; ".join(problems))


async def watch_redis(redis_url: str, *, environment: str, stop: asyncio.Event) -> None:
    """Check Redis every minute until `stop` is set; while it is away wait for it.

    Raises UnsafeRedis in the environment `production`: let it end the process.
    """
    while not stop.is_set():
        pause = _CHECK_SECONDS
        try:
            await check_redis(redis_url, environment=environment)
        except TransientError as error:
            log.warning("redis_not_checked", error=str(error))
            pause = _RETRY_SECONDS
        await stops_within(stop, pause)
