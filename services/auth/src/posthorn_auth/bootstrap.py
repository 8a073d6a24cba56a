"""Composition root: settings → the open resources and use cases of the auth service."""

from __future__ import annotations

import contextlib
import hmac
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import redis.asyncio as redis
from sqlalchemy.ext.asyncio import AsyncEngine

from posthorn_auth.adapters.argon2_hasher import Argon2PasswordHasher
from posthorn_auth.adapters.db.tables import outbox
from posthorn_auth.adapters.db.unit_of_work import SqlUnitOfWork
from posthorn_auth.adapters.redis_throttle import RedisLoginThrottle
from posthorn_auth.adapters.signing import KeyRing
from posthorn_auth.app.managing_api_keys import ManagingApiKeys
from posthorn_auth.app.managing_users import ManagingUsers
from posthorn_auth.app.signing_in import SigningIn
from posthorn_auth.settings import Settings
from posthorn_common.clock import Clock, SystemClock
from posthorn_common.db import create_engine
from posthorn_common.http.identity import Identity
from posthorn_common.messaging import EventBus, connect
from posthorn_common.outbox import OutboxRelay
from posthorn_common.secretbox import SecretBox
from posthorn_common.settings import secret_bytes
from posthorn_common.tokens import AccessTokenVerifier, ServiceTokens

MIGRATIONS = Path(__file__).parent / "migrations"
COMMON_PASSWORDS = Path(__file__).parent / "adapters" / "common_passwords.txt"


@dataclass(frozen=True)
class Container:
    """Everything the entrypoints use."""

    settings: Settings
    engine: AsyncEngine
    redis: redis.Redis
    bus: EventBus
    relay: OutboxRelay
    key_ring: KeyRing
    identity: Identity
    signing_in: SigningIn
    managing_users: ManagingUsers
    managing_api_keys: ManagingApiKeys


@contextlib.asynccontextmanager
async def bootstrap(settings: Settings, clock: Clock | None = None) -> AsyncGenerator[Container]:
    """Open what the service needs, and close it afterwards."""
    clock = clock or SystemClock()
    async with contextlib.AsyncExitStack() as stack:
        engine = create_engine(
            settings.database_url.get_secret_value(),
            application_name="posthorn-auth",
            pool_size=settings.database_pool_size,
        )
        stack.push_async_callback(engine.dispose)
        client: redis.Redis = redis.Redis.from_url(settings.redis_url.get_secret_value(), socket_timeout=2)
        stack.push_async_callback(client.aclose)
        bus = await stack.enter_async_context(connect(settings.amqp_url.get_secret_value(), service="auth"))
        hasher = Argon2PasswordHasher(threads=settings.password_hash_threads)
        stack.callback(hasher.close)
        yield _container(settings, engine, client, bus, hasher, clock)


def _container(
    settings: Settings,
    engine: AsyncEngine,
    client: redis.Redis,
    bus: EventBus,
    hasher: Argon2PasswordHasher,
    clock: Clock,
) -> Container:
    def new_unit_of_work() -> SqlUnitOfWork:
        return SqlUnitOfWork(engine)

    common_passwords = frozenset(COMMON_PASSWORDS.read_text().splitlines())
    key_ring = KeyRing(
        new_unit_of_work=new_unit_of_work,
        box=SecretBox(secret_bytes(settings.encryption_key)),
        clock=clock,
        issuer=settings.token_issuer,
        access_token_seconds=settings.access_token_seconds,
    )
    throttle = RedisLoginThrottle(
        client,
        per_account=settings.login_attempts,
        per_address=settings.login_attempts_per_address,
        window_seconds=settings.login_window_seconds,
    )
    return Container(
        settings=settings,
        engine=engine,
        redis=client,
        bus=bus,
        relay=OutboxRelay(engine, outbox, bus),
        key_ring=key_ring,
        identity=Identity(
            AccessTokenVerifier(key_ring, issuer=settings.token_issuer),
            ServiceTokens(secret_bytes(settings.internal_secret), service="auth", clock=clock),
        ),
        signing_in=SigningIn(
            new_unit_of_work=new_unit_of_work,
            hasher=hasher,
            throttle=throttle,
            tokens=key_ring,
            common_passwords=common_passwords,
            clock=clock,
            session_lifetime=timedelta(days=settings.refresh_token_days),
            successor_key=hmac.digest(secret_bytes(settings.encryption_key), b"refresh token successor", "sha256"),
        ),
        managing_users=ManagingUsers(
            new_unit_of_work=new_unit_of_work, hasher=hasher, common_passwords=common_passwords, clock=clock
        ),
        managing_api_keys=ManagingApiKeys(new_unit_of_work=new_unit_of_work, tokens=key_ring, clock=clock),
    )
