"""The key ring: signing keys from the database, access tokens signed with the key of the day."""

from __future__ import annotations

import asyncio
import json
import time
from datetime import timedelta
from typing import Any

import jwt
import structlog
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from posthorn_auth.app.ports import NewUnitOfWork, UnitOfWork
from posthorn_auth.domain.credentials import ApiKey, Session
from posthorn_auth.domain.signing_keys import (
    PUBLISHED_BEFORE_SIGNING,
    SigningKey,
    current_key,
    is_due,
    published_keys,
)
from posthorn_auth.domain.users import User
from posthorn_common.clock import Clock, new_id
from posthorn_common.secretbox import SecretBox
from posthorn_common.tokens import AccessTokenIssuer, InvalidToken, Principal
from posthorn_contracts.permissions import ROLE_PERMISSIONS, Role

log = structlog.get_logger(__name__)

_CACHE_SECONDS = 30.0


class KeyRing:
    """Makes, rotates, publishes and uses signing keys. Keys are read again every 30 seconds."""

    def __init__(
        self,
        *,
        new_unit_of_work: NewUnitOfWork,
        box: SecretBox,
        clock: Clock,
        issuer: str,
        access_token_seconds: int,
    ) -> None:
        self._new_unit_of_work = new_unit_of_work
        self._box = box
        self._clock = clock
        self._issuer = issuer
        self._lifetime = timedelta(seconds=access_token_seconds)
        self._keys: list[SigningKey] = []
        self._read_at = float("-inf")
        self._private_keys: dict[str, Ed25519PrivateKey] = {}
        self._lock = asyncio.Lock()

    async def ensure_key(self) -> None:
        """Make the first key if there is none; processes that start together make one between them."""
        async with self._new_unit_of_work() as uow:
            await uow.signing_keys.lock()
            if not await uow.signing_keys.all():
                await uow.signing_keys.add(self._new_key(timedelta(0)))
                log.info("signing_key_made")

    async def rotate(self, *, compromised: bool = False) -> SigningKey:
        """Publish a new key, which signs from ten minutes later; with `compromised` at once, and all others are void.

        Keys that are not published any more are deleted.
        """
        async with self._new_unit_of_work() as uow:
            await uow.signing_keys.lock()
            key = await self._replace(uow, compromised=compromised)
        self._read_at = float("-inf")
        return key

    async def rotate_if_due(self, interval: timedelta) -> bool:
        """Rotate if the newest key is older than that; of several processes one does it. Return whether."""
        async with self._new_unit_of_work() as uow:
            await uow.signing_keys.lock()
            if not is_due(await uow.signing_keys.all(), await uow.users.now(), interval):
                return False
            key = await self._replace(uow, compromised=False)
        log.info("signing_key_rotated", key_id=key.id)
        self._read_at = float("-inf")
        return True

    async def _replace(self, uow: UnitOfWork, *, compromised: bool) -> SigningKey:
        keys = await uow.signing_keys.all()
        kept = [] if compromised else published_keys(keys, self._clock.now())
        await uow.signing_keys.delete([key.id for key in keys if key not in kept])
        new = self._new_key(timedelta(0) if compromised else PUBLISHED_BEFORE_SIGNING)
        await uow.signing_keys.add(new)
        return new

    async def jwks(self) -> dict[str, Any]:
        """Return the public keys as a JWK set (RFC 7517)."""
        keys = published_keys(await self._known_keys(), self._clock.now())
        return {"keys": [json.loads(key.public_jwk) for key in keys]}

    async def key(self, key_id: str) -> Ed25519PublicKey:
        """Return a public key; the service verifies its own tokens with it. Raises InvalidToken."""
        for known in published_keys(await self._known_keys(), self._clock.now()):
            if known.id == key_id:
                return self._private_key(known).public_key()
        raise InvalidToken("unknown key")

    async def issue_for_session(self, user: User, session: Session) -> str:
        """Return an access token with the permissions of the user's role."""
        principal = Principal(
            organisation_id=user.organisation_id,
            subject_id=user.id,
            kind="user",
            scopes=frozenset(ROLE_PERMISSIONS[Role(user.role)]),
            session_id=session.id,
            role=user.role,
        )
        return (await self._token_issuer()).issue(principal, lifetime=self._lifetime)

    async def issue_for_api_key(self, key: ApiKey, lifetime_seconds: int) -> str:
        """Return an access token with the permissions of the key."""
        principal = Principal(
            organisation_id=key.organisation_id, subject_id=key.id, kind="api_key", scopes=frozenset(key.scopes)
        )
        return (await self._token_issuer()).issue(principal, lifetime=timedelta(seconds=lifetime_seconds))

    async def _token_issuer(self) -> AccessTokenIssuer:
        key = current_key(await self._known_keys(), self._clock.now())
        return AccessTokenIssuer(self._private_key(key), key_id=key.id, issuer=self._issuer, clock=self._clock)

    async def _known_keys(self) -> list[SigningKey]:
        async with self._lock:
            if time.monotonic() - self._read_at > _CACHE_SECONDS or not self._keys:
                async with self._new_unit_of_work() as uow:
                    self._keys = await uow.signing_keys.all()
                self._read_at = time.monotonic()
            return self._keys

    def _private_key(self, key: SigningKey) -> Ed25519PrivateKey:
        known = self._private_keys.get(key.id)
        if known is None:
            raw = self._box.open(key.sealed_private_key, purpose=_purpose(key.id))
            known = self._private_keys[key.id] = Ed25519PrivateKey.from_private_bytes(raw)
        return known

    def _new_key(self, delay: timedelta) -> SigningKey:
        private_key = Ed25519PrivateKey.generate()
        key_id = str(new_id())
        raw = private_key.private_bytes(
            serialization.Encoding.Raw, serialization.PrivateFormat.Raw, serialization.NoEncryption()
        )
        jwk = json.loads(jwt.algorithms.OKPAlgorithm.to_jwk(private_key.public_key()))
        now = self._clock.now()
        return SigningKey(
            id=key_id,
            public_jwk=json.dumps({**jwk, "kid": key_id, "use": "sig", "alg": "EdDSA"}),
            sealed_private_key=self._box.seal(raw, purpose=_purpose(key_id)),
            created_at=now,
            signs_from=now + delay,
        )


def _purpose(key_id: str) -> str:
    return f"signing key {key_id}"
