"""Composition root: settings → the open resources and use cases of the auth service."""

from __future__ import annotations

import contextlib
import hmac
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import httpx
import redis.asyncio as redis
from sqlalchemy.ext.asyncio import AsyncEngine

from posthorn_auth.adapters.argon2_hasher import Argon2PasswordHasher
from posthorn_auth.adapters.db.audit_entries import SqlAuditEntries
from posthorn_auth.adapters.db.tables import outbox
from posthorn_auth.adapters.db.unit_of_work import SqlUnitOfWork
from posthorn_auth.adapters.mailer_client import HttpAccountMailer
from posthorn_auth.adapters.oidc import HttpOidcClient
from posthorn_auth.adapters.redis_throttle import RedisLoginThrottle
from posthorn_auth.adapters.signing import KeyRing
from posthorn_auth.adapters.totp import TotpAppCodes
from posthorn_auth.app.allowing_origins import AllowingOrigins
from posthorn_auth.app.audit_log import AuditLog
from posthorn_auth.app.inviting import Inviting
from posthorn_auth.app.mail_quota import MailQuota
from posthorn_auth.app.managing_api_keys import ManagingApiKeys
from posthorn_auth.app.managing_users import ManagingUsers
from posthorn_auth.app.passwords import NewPasswords, PasswordProof
from posthorn_auth.app.proving_addresses import ProvingAddresses
from posthorn_auth.app.second_factors import ManagingSecondFactors, SecondFactorCodes
from posthorn_auth.app.sending_mails import SendingMails
from posthorn_auth.app.signing_in import SigningIn
from posthorn_auth.app.signing_in_elsewhere import ManagingProvider, SigningInElsewhere
from posthorn_auth.settings import Settings
from posthorn_common.clock import Clock, SystemClock
from posthorn_common.db import create_engine
from posthorn_common.http.client import InternalClient
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
    inviting: Inviting
    proving_addresses: ProvingAddresses
    password_proof: PasswordProof
    second_factors: ManagingSecondFactors
    sending_mails: SendingMails
    managing_provider: ManagingProvider
    signing_in_elsewhere: SigningInElsewhere
    allowing_origins: AllowingOrigins
    audit_log: AuditLog


@dataclass(frozen=True)
class _Resources:
    engine: AsyncEngine
    redis: redis.Redis
    bus: EventBus
    hasher: Argon2PasswordHasher
    mailer: InternalClient
    http: httpx.AsyncClient


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
        service_tokens = ServiceTokens(secret_bytes(settings.internal_secret), service="auth", clock=clock)
        mailer = InternalClient(str(settings.mailer_url), service="mailer", tokens=service_tokens, attempts=1)
        stack.push_async_callback(mailer.close)
        http = await stack.enter_async_context(httpx.AsyncClient(timeout=5, follow_redirects=False))
        yield _container(settings, _Resources(engine, client, bus, hasher, mailer, http), service_tokens, clock)


def _container(settings: Settings, opened: _Resources, service_tokens: ServiceTokens, clock: Clock) -> Container:
    key = secret_bytes(settings.encryption_key)
    mail_token_key = hmac.digest(key, b"account mail token", "sha256")

    def new_unit_of_work() -> SqlUnitOfWork:
        return SqlUnitOfWork(opened.engine, token_key=mail_token_key)

    box = SecretBox(key)
    key_ring = KeyRing(
        new_unit_of_work=new_unit_of_work,
        box=box,
        clock=clock,
        issuer=settings.token_issuer,
        access_token_seconds=settings.access_token_seconds,
    )
    throttle = RedisLoginThrottle(
        opened.redis,
        per_account=settings.login_attempts,
        per_address=settings.login_attempts_per_address,
        window_seconds=settings.login_window_seconds,
    )
    passwords = NewPasswords(hasher=opened.hasher, common=frozenset(COMMON_PASSWORDS.read_text().splitlines()))
    proof = PasswordProof(new_unit_of_work=new_unit_of_work, hasher=opened.hasher, throttle=throttle)
    quota = MailQuota(settings.mails_to_strangers_per_day)
    factors = SecondFactorCodes(
        codes=TotpAppCodes(settings.mail_from_name),
        box=box,
        recovery_key=hmac.digest(key, b"recovery code", "sha256"),
    )
    signing_in = SigningIn(
        new_unit_of_work=new_unit_of_work,
        hasher=opened.hasher,
        throttle=throttle,
        passwords=passwords,
        proof=proof,
        factors=factors,
        tokens=key_ring,
        clock=clock,
        session_lifetime=timedelta(days=settings.refresh_token_days),
        successor_key=hmac.digest(key, b"refresh token successor", "sha256"),
        verify_at_once=settings.mail_organisation_id is not None,
    )
    oidc = HttpOidcClient(opened.http, allow_private=settings.private_providers_allowed)
    return Container(
        settings=settings,
        engine=opened.engine,
        redis=opened.redis,
        bus=opened.bus,
        relay=OutboxRelay(opened.engine, outbox, opened.bus),
        key_ring=key_ring,
        identity=Identity(AccessTokenVerifier(key_ring, issuer=settings.token_issuer), service_tokens),
        signing_in=signing_in,
        managing_users=ManagingUsers(new_unit_of_work=new_unit_of_work, passwords=passwords, clock=clock),
        managing_api_keys=ManagingApiKeys(new_unit_of_work=new_unit_of_work, tokens=key_ring, clock=clock),
        inviting=Inviting(new_unit_of_work=new_unit_of_work, passwords=passwords, quota=quota, clock=clock),
        proving_addresses=ProvingAddresses(
            new_unit_of_work=new_unit_of_work,
            passwords=passwords,
            proof=proof,
            throttle=throttle,
            quota=quota,
            clock=clock,
        ),
        password_proof=proof,
        second_factors=ManagingSecondFactors(
            new_unit_of_work=new_unit_of_work, factors=factors, proof=proof, throttle=throttle, clock=clock
        ),
        sending_mails=SendingMails(
            new_unit_of_work=new_unit_of_work,
            mailer=HttpAccountMailer(opened.mailer, from_name=settings.mail_from_name),
            token_key=mail_token_key,
            public_base=settings.public_base,
            mail_organisation_id=settings.mail_organisation_id,
        ),
        managing_provider=ManagingProvider(new_unit_of_work=new_unit_of_work, oidc=oidc, box=box),
        signing_in_elsewhere=SigningInElsewhere(
            new_unit_of_work=new_unit_of_work,
            oidc=oidc,
            box=box,
            passwords=passwords,
            signing_in=signing_in,
            clock=clock,
            login_key=hmac.digest(key, b"login at an identity provider", "sha256"),
        ),
        allowing_origins=AllowingOrigins(new_unit_of_work=new_unit_of_work, clock=clock),
        audit_log=AuditLog(SqlAuditEntries(opened.engine)),
    )
