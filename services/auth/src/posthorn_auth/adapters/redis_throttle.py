"""Attempts at passwords counted in Redis, by account and by address, in fixed windows."""

from __future__ import annotations

import hashlib
from typing import Any
from uuid import UUID

import redis.asyncio as redis
import structlog
from redis.exceptions import RedisError

from posthorn_auth.domain.errors import TooManyAttempts
from posthorn_common.http.clients import address_group

log = structlog.get_logger(__name__)

_KNOWN_SECONDS = 30 * 24 * 3600


class RedisLoginThrottle:
    """See the port LoginThrottle.

    An attempt is counted before the password is looked at, so that attempts at the same time do not pass together. An
    address from which the account was signed in to before has a count of its own: a stranger who fails on purpose
    keeps nobody out of it. While Redis is away nothing is throttled: the password hash still costs an attacker its
    time.
    """

    def __init__(self, client: redis.Redis, *, per_account: int, per_address: int, window_seconds: int) -> None:
        self._client = client
        self._limits = (per_account, per_address)
        self._window = window_seconds

    async def attempt(self, email: str, address: str) -> None:
        """Count an attempt; raise TooManyAttempts if account or address has used up its window."""
        try:
            account_key = await self._account_key(email, address)
            counted = await self._count(account_key, 1), await self._count(_address_key(address), 1)
        except (RedisError, OSError) as error:
            log.warning("login_throttle_away", error=type(error).__name__)
            return
        waits = [wait for (used, wait), limit in zip(counted, self._limits, strict=True) if used > limit]
        if waits:
            raise TooManyAttempts(max(*waits, 1))

    async def attempt_code(self, user_id: UUID) -> None:
        """Count an attempt at a second factor; raise TooManyAttempts after as many as an account has."""
        try:
            used, wait = await self._count(_code_key(user_id), 1)
        except (RedisError, OSError) as error:
            log.warning("login_throttle_away", error=type(error).__name__)
            return
        if used > self._limits[0]:
            raise TooManyAttempts(max(wait, 1))

    async def succeed_code(self, user_id: UUID) -> None:
        """Forget the attempts at the second factor."""
        try:
            await self._client.delete(_code_key(user_id))
        except (RedisError, OSError) as error:
            log.warning("login_throttle_away", error=type(error).__name__)

    async def succeed(self, email: str, address: str) -> None:
        """Forget the attempts at the account and this one of the address; remember the two together."""
        try:
            await self._client.delete(await self._account_key(email, address))
            await self._count(_address_key(address), -1)
            await self._client.set(_known_key(email, address), b"1", ex=_KNOWN_SECONDS)
        except (RedisError, OSError) as error:
            log.warning("login_throttle_away", error=type(error).__name__)

    async def _account_key(self, email: str, address: str) -> str:
        if await self._client.exists(_known_key(email, address)):
            return f"posthorn:auth:login:known-account:{_digest(email, address_group(address))}"
        return f"posthorn:auth:login:account:{_digest(email)}"

    async def _count(self, key: str, by: int) -> tuple[int, int]:
        """Return the new count, and the seconds until it begins anew."""
        async with self._client.pipeline(transaction=True) as pipeline:
            pipeline.incrby(key, by)
            pipeline.expire(key, self._window, nx=True)
            pipeline.ttl(key)
            used, _, wait = (int(answer) for answer in await _executed(pipeline))
        return used, wait


async def _executed(pipeline: Any) -> list[Any]:
    answers: list[Any] = await pipeline.execute()
    return answers


def _address_key(address: str) -> str:
    return f"posthorn:auth:login:address:{_digest(address_group(address))}"


def _code_key(user_id: UUID) -> str:
    return f"posthorn:auth:login:code:{user_id}"


def _known_key(email: str, address: str) -> str:
    return f"posthorn:auth:login:known:{_digest(email, address_group(address))}"


def _digest(*texts: str) -> str:
    """Redis holds no addresses in clear text."""
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()[:32]
