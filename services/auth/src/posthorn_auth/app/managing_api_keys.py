"""API keys: create, list, exchange for access tokens, revoke."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from posthorn_auth.app.ports import AccessTokens, NewUnitOfWork, UnitOfWork
from posthorn_auth.domain.credentials import ApiKey, hash_secret, new_api_key, shown_prefix
from posthorn_auth.domain.errors import ApiKeyOver, ExpiryInThePast, InvalidApiKey, ScopeNotHeld
from posthorn_common.auditing import concerns
from posthorn_common.clock import Clock, new_id
from posthorn_common.events import event
from posthorn_contracts.auth.v1 import ApiKeyRevoked, ApiKeyRevokedData
from posthorn_contracts.permissions import ROLE_PERMISSIONS, Role

EXCHANGED_TOKEN_SECONDS = 300
SHORTEST_OVERLAP = timedelta(minutes=10)
"""No token that was made from a key outlives it, though the key's end was moved nearer meanwhile."""


@dataclass(frozen=True, slots=True)
class NewApiKey:
    """A key to create."""

    name: str
    scopes: frozenset[str]
    expires_at: datetime | None


@dataclass(frozen=True, slots=True)
class Rotation:
    """A key to replace, and how long it is good besides the new one."""

    key_id: UUID
    overlap: timedelta


class ManagingApiKeys:
    """The use cases of API keys."""

    def __init__(self, *, new_unit_of_work: NewUnitOfWork, tokens: AccessTokens, clock: Clock) -> None:
        self._new_unit_of_work = new_unit_of_work
        self._tokens = tokens
        self._clock = clock

    async def create(
        self, organisation_id: UUID, creator_id: UUID, creator_scopes: frozenset[str], wanted: NewApiKey
    ) -> tuple[ApiKey, str]:
        """Create a key; the second value is the key itself, which is shown this once.

        Raises ScopeNotHeld, ExpiryInThePast.
        """
        now = self._clock.now()
        if wanted.expires_at is not None and wanted.expires_at <= now:
            raise ExpiryInThePast
        key, secret = self._new_key(organisation_id, creator_id, wanted, now)
        async with self._new_unit_of_work() as uow:
            await _check_scopes(uow, organisation_id, creator_id, creator_scopes, wanted.scopes)
            concerns("api_key", key.id)
            await uow.api_keys.add(key, hash_secret(secret))
        return key, secret

    async def rotate(
        self, organisation_id: UUID, creator_id: UUID, creator_scopes: frozenset[str], rotation: Rotation
    ) -> tuple[ApiKey, str]:
        """Make a key that may do the same and lives as long; the old one is good for the overlap, 0 for not at all.

        Raises ApiKeyNotFound, ApiKeyOver, and ScopeNotHeld: nobody gets a key in this way that they could not make.
        """
        now = self._clock.now()
        async with self._new_unit_of_work() as uow:
            old = await uow.api_keys.lock(organisation_id, rotation.key_id)
            if old.replaced_by is not None or old.seconds_left(now) < 1:
                raise ApiKeyOver
            await _check_scopes(uow, organisation_id, creator_id, creator_scopes, frozenset(old.scopes))
            expires_at = None if old.expires_at is None else now + (old.expires_at - old.created_at)
            wanted = NewApiKey(old.name, frozenset(old.scopes), expires_at)
            key, secret = self._new_key(organisation_id, creator_id, wanted, now)
            concerns("api_key", key.id)
            await uow.api_keys.add(key, hash_secret(secret))
            ends = now + max(rotation.overlap, SHORTEST_OVERLAP)
            await uow.api_keys.replace(old.id, key.id, ends if old.expires_at is None else min(old.expires_at, ends))
            if not rotation.overlap:
                await self._revoke(uow, organisation_id, old.id)
        return key, secret

    def _new_key(self, organisation_id: UUID, creator_id: UUID, wanted: NewApiKey, now: datetime) -> tuple[ApiKey, str]:
        secret = new_api_key()
        key = ApiKey(
            id=new_id(),
            organisation_id=organisation_id,
            name=wanted.name,
            prefix=shown_prefix(secret),
            scopes=tuple(sorted(wanted.scopes)),
            created_by=creator_id,
            created_at=now,
            expires_at=wanted.expires_at,
            last_used_at=None,
        )
        return key, secret

    async def list_keys(self, organisation_id: UUID, after: UUID | None, limit: int) -> list[ApiKey]:
        """Return keys that are not revoked, in order of their ids."""
        async with self._new_unit_of_work() as uow:
            return await uow.api_keys.page(organisation_id, after, limit)

    async def exchange(self, api_key: str) -> tuple[ApiKey, str, int]:
        """Return the key, an access token that may do what the key may, and its seconds. Raises InvalidApiKey."""
        now = self._clock.now()
        async with self._new_unit_of_work() as uow:
            key = await uow.api_keys.by_hash(hash_secret(api_key))
            seconds = 0 if key is None else min(EXCHANGED_TOKEN_SECONDS, key.seconds_left(now))
            if key is None or seconds < 1:
                raise InvalidApiKey
            await uow.api_keys.touch(key.id, now)
        return key, await self._tokens.issue_for_api_key(key, seconds), seconds

    async def revoke(self, organisation_id: UUID, key_id: UUID) -> None:
        """Make a key void. Raises ApiKeyNotFound."""
        async with self._new_unit_of_work() as uow:
            await self._revoke(uow, organisation_id, key_id)

    async def _revoke(self, uow: UnitOfWork, organisation_id: UUID, key_id: UUID) -> None:
        if await uow.api_keys.revoke(organisation_id, key_id, self._clock.now()):
            await tell_of_revoked_key(uow, organisation_id, key_id, self._clock)


async def tell_of_revoked_key(uow: UnitOfWork, organisation_id: UUID, key_id: UUID, clock: Clock) -> None:
    """Tell the gateways that a key is void."""
    data = ApiKeyRevokedData(api_key_id=key_id)
    await uow.publish(event(ApiKeyRevoked, key_id, organisation_id, data, clock))


async def _check_scopes(
    uow: UnitOfWork, organisation_id: UUID, creator_id: UUID, held: frozenset[str], wanted: frozenset[str]
) -> None:
    """Raise ScopeNotHeld unless the creator holds the scopes: by their token, and by their role as it is now."""
    creator = await uow.users.lock(organisation_id, creator_id)
    now_held = held & ROLE_PERMISSIONS[Role(creator.role)] if creator.is_active else frozenset()
    if excess := wanted - now_held:
        raise ScopeNotHeld(sorted(excess))
