"""Failed logins counted in Redis, by account and by address, in fixed windows."""

from __future__ import annotations

import hashlib

import redis.asyncio as redis
import structlog
from redis.exceptions import RedisError

from posthorn_auth.domain.errors import TooManyAttempts

log = structlog.get_logger(__name__)


class RedisLoginThrottle:
    """See the port LoginThrottle.

    A stranger who fails on purpose can close an account for one window at most, and only for new logins; sessions go
    on. While Redis is away logins are not throttled: the password hash still costs an attacker its time.
    """

    def __init__(self, client: redis.Redis, *, per_account: int, per_address: int, window_seconds: int) -> None:
        self._client = client
        self._limits = (per_account, per_address)
        self._window = window_seconds

    async def check(self, email: str, address: str) -> None:
        """Raise TooManyAttempts if account or address has used up its window."""
        for key, limit in zip(_keys(email, address), self._limits, strict=True):
            try:
                used = int(await self._client.get(key) or 0)
                wait = await self._client.ttl(key) if used >= limit else 0
            except (RedisError, OSError) as error:
                log.warning("login_throttle_away", error=type(error).__name__)
                return
            if used >= limit:
                raise TooManyAttempts(max(wait, 1))

    async def record_failure(self, email: str, address: str) -> None:
        """Count a failed login."""
        try:
            async with self._client.pipeline(transaction=True) as pipeline:
                for key in _keys(email, address):
                    pipeline.incr(key)
                    pipeline.expire(key, self._window, nx=True)
                await pipeline.execute()
        except (RedisError, OSError) as error:
            log.warning("login_throttle_away", error=type(error).__name__)

    async def forget_account(self, email: str) -> None:
        """Forget the failures of an account."""
        try:
            await self._client.delete(_keys(email, "")[0])
        except (RedisError, OSError) as error:
            log.warning("login_throttle_away", error=type(error).__name__)


def _keys(email: str, address: str) -> tuple[str, str]:
    return f"posthorn:auth:login:account:{_digest(email)}", f"posthorn:auth:login:address:{_digest(address)}"


def _digest(text: str) -> str:
    """Redis holds no addresses in clear text."""
    return hashlib.sha256(text.encode()).hexdigest()[:32]
