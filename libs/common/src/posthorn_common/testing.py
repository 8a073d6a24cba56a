"""What tests of all services share: a clock to set, tokens to mint."""

from __future__ import annotations

import base64
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy.ext.asyncio import AsyncEngine

from posthorn_common.clock import SystemClock, new_id
from posthorn_common.http.identity import Identity
from posthorn_common.tokens import AccessTokenIssuer, AccessTokenVerifier, Principal, ServiceTokens, StaticJwks

ISSUER = "https://posthorn.test"
INTERNAL_SECRET = b"an internal secret for tests only."


class FakeClock:
    """A clock that stands still until it is moved."""

    def __init__(self, now: datetime = datetime(2026, 1, 5, 12, 0, tzinfo=UTC)) -> None:
        self._now = now

    def now(self) -> datetime:
        """Return the time the clock shows."""
        return self._now

    def advance(self, **amount: float) -> None:
        """Move the clock by `timedelta(**amount)`."""
        self._now += timedelta(**amount)


class TokenMint:
    """Issues access and service tokens that `identity(service)` accepts."""

    def __init__(self) -> None:
        self._private_key = Ed25519PrivateKey.generate()
        self.key_id = "test-key"

    def identity(self, service: str) -> Identity:
        """Return the Identity with which a service under test verifies this mint's tokens."""
        keys = StaticJwks({self.key_id: self._private_key.public_key()})
        return Identity(
            AccessTokenVerifier(keys, issuer=ISSUER),
            ServiceTokens(INTERNAL_SECRET, service=service, clock=SystemClock()),
        )

    def access_token(
        self,
        organisation_id: UUID,
        scopes: frozenset[str] | set[str],
        *,
        subject_id: UUID | None = None,
        lifetime: timedelta = timedelta(minutes=5),
    ) -> str:
        """Return a token of a user of the organisation with these permissions."""
        issuer = AccessTokenIssuer(self._private_key, key_id=self.key_id, issuer=ISSUER, clock=SystemClock())
        principal = Principal(
            organisation_id=organisation_id,
            subject_id=subject_id or new_id(),
            kind="user",
            scopes=frozenset(scopes),
            session_id=new_id(),
        )
        return issuer.issue(principal, lifetime=lifetime)

    def service_token(self, caller: str, audience: str) -> str:
        """Return a token with which the service `caller` may call `audience`."""
        return ServiceTokens(INTERNAL_SECRET, service=caller, clock=SystemClock()).issue(audience)


def common_settings(*, redis_url: str, amqp_url: str) -> dict[str, Any]:
    """Return the settings that all services need, for a service under test that `TokenMint` issues tokens for."""
    return {
        "environment": "development",
        "port": 0,
        "redis_url": redis_url,
        "amqp_url": amqp_url,
        "internal_secret": base64.urlsafe_b64encode(INTERNAL_SECRET).decode(),
        "token_issuer": ISSUER,
        "jwks_url": "http://auth.test/jwks",
        "public_url": ISSUER,
    }


_HOLDS = 'SELECT EXISTS (SELECT FROM "{table}" t WHERE strpos(t::text, :text) > 0 OR strpos(t::text, :hex) > 0)'


async def tables_that_hold(engine: AsyncEngine, text: str) -> list[str]:
    """Return the tables of the schema in which a text occurs: in whatever column, as text, in JSON, or as bytes."""
    # PostgreSQL shows bytes in hexadecimal.
    values = {"text": text, "hex": text.encode().hex()}
    tables = sa.text("SELECT tablename FROM pg_tables WHERE schemaname = current_schema() ORDER BY tablename")
    async with engine.connect() as connection:
        return [
            name
            for name in list(await connection.scalars(tables))
            if await connection.scalar(sa.text(_HOLDS.format(table=name)), values)
        ]
