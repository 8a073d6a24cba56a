"""Composition root: settings → what the gateway works with."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from urllib.parse import urlsplit

import httpx
import redis.asyncio as redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from posthorn_common.clock import Clock, SystemClock
from posthorn_common.http.client import InternalClient
from posthorn_common.messaging import EventBus, connect
from posthorn_common.secretbox import SecretBox
from posthorn_common.settings import secret_bytes
from posthorn_common.tokens import AccessTokenVerifier, HttpJwks, ServiceTokens
from posthorn_gateway.adapters.auth_key_exchange import AuthKeyExchange
from posthorn_gateway.adapters.auth_origins import AuthOrigins
from posthorn_gateway.adapters.auth_revocations import AuthRevocations
from posthorn_gateway.adapters.redis_idempotency import RedisIdempotencyStore
from posthorn_gateway.adapters.redis_origins import RedisOriginStore
from posthorn_gateway.adapters.redis_rate_limiter import RedisRateLimiter
from posthorn_gateway.adapters.redis_revocations import RedisRevocationStore
from posthorn_gateway.adapters.upstreams import Upstreams, open_upstreams
from posthorn_gateway.app.callers import Callers
from posthorn_gateway.app.describing import Describing
from posthorn_gateway.app.origins import AllowedOrigins
from posthorn_gateway.app.overseeing import Overseeing
from posthorn_gateway.app.repeating import Repeating
from posthorn_gateway.app.revocations import Revocations
from posthorn_gateway.domain.routes import RoutingTable, Service
from posthorn_gateway.settings import Settings

# Only a request with an idempotency key cannot do without Redis, and that can come again: it is not waited for.
_REDIS_SECONDS = 0.5
_AUTH_SECONDS = 3.0
_AUTH_ATTEMPTS = 2


@dataclass(frozen=True)
class Container:
    """Everything the entrypoints use."""

    settings: Settings
    bus: EventBus
    table: RoutingTable
    upstreams: Upstreams
    signing_keys: HttpJwks
    callers: Callers
    revocations: Revocations
    origins: AllowedOrigins
    rate_limiter: RedisRateLimiter
    repeating: Repeating
    describing: Describing
    overseeing: Overseeing
    closing: asyncio.Event
    """Set when the process is about to end: streams that have no end of their own end then."""

    @property
    def public_origin(self) -> str:
        """Scheme, host and port of the public URL."""
        parts = urlsplit(self.settings.public_base)
        return f"{parts.scheme}://{parts.netloc}"


@contextlib.asynccontextmanager
async def bootstrap(settings: Settings, clock: Clock | None = None) -> AsyncGenerator[Container]:
    """Open what the gateway needs, and close it afterwards. Nothing needs to be there yet."""
    clock = clock or SystemClock()
    async with contextlib.AsyncExitStack() as stack:
        client: redis.Redis = redis.Redis.from_url(
            settings.redis_url.get_secret_value(),
            socket_timeout=_REDIS_SECONDS,
            socket_connect_timeout=_REDIS_SECONDS,
            retry=Retry(NoBackoff(), 1),
        )
        stack.push_async_callback(client.aclose)
        bus = await stack.enter_async_context(connect(settings.amqp_url.get_secret_value(), service="gateway"))
        upstreams = await stack.enter_async_context(
            open_upstreams(
                _addresses(settings),
                connect_seconds=settings.connect_timeout_seconds,
                read_seconds=settings.read_timeout_seconds,
            )
        )
        http = await stack.enter_async_context(httpx.AsyncClient(timeout=_AUTH_SECONDS))
        tokens = ServiceTokens(secret_bytes(settings.internal_secret), service="gateway", clock=clock)
        auth = InternalClient(
            str(settings.auth_url),
            service="auth",
            tokens=tokens,
            timeout_seconds=_AUTH_SECONDS,
            attempts=_AUTH_ATTEMPTS,
        )
        stack.push_async_callback(auth.close)
        signing_keys = HttpJwks(str(settings.jwks_url), http)
        verifier = AccessTokenVerifier(signing_keys, issuer=settings.token_issuer)
        revocations = Revocations(
            RedisRevocationStore(client), AuthRevocations(auth), clock, stale_seconds=settings.revocation_stale_seconds
        )
        table = RoutingTable()
        yield Container(
            settings=settings,
            bus=bus,
            table=table,
            upstreams=upstreams,
            signing_keys=signing_keys,
            callers=Callers(
                verifier=verifier,
                key_exchange=AuthKeyExchange(auth),
                revocations=revocations,
                clock=clock,
                api_key_cache_seconds=settings.api_key_cache_seconds,
            ),
            revocations=revocations,
            origins=AllowedOrigins(settings.cors_origins, AuthOrigins(auth), RedisOriginStore(client)),
            rate_limiter=RedisRateLimiter(client),
            repeating=_repeating(client, settings),
            describing=Describing(upstreams, table, public_url=settings.public_base),
            overseeing=Overseeing(upstreams),
            closing=asyncio.Event(),
        )


def _repeating(client: redis.Redis, settings: Settings) -> Repeating:
    key = hashlib.sha256(b"posthorn gateway kept answers" + secret_bytes(settings.internal_secret)).digest()
    lease_seconds = settings.idempotency_lease_seconds
    store = RedisIdempotencyStore(client, SecretBox(key), lease_seconds=lease_seconds)
    return Repeating(store, renew_seconds=lease_seconds / 3)


def _addresses(settings: Settings) -> dict[Service, str]:
    return {
        Service.AUTH: str(settings.auth_url),
        Service.CAMPAIGNS: str(settings.campaigns_url),
        Service.MAILER: str(settings.mailer_url),
        Service.ANALYTICS: str(settings.analytics_url),
    }
